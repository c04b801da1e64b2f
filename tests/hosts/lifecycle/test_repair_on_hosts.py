"""A mount that somebody has taken away on a host: the doctor tells of it and mounts it again."""

from __future__ import annotations

import subprocess

import pytest

from dlpx_remote.cli import main
from dlpx_remote.engine_sources import Given
from tests.hosts.lifecycle.site import Site


def test_what_is_not_mounted_any_more_is_planned_and_mounted_again(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor = ["--state", str(site.state), "doctor"]
    copy = site.targets / "copy"
    with site.open() as engine:
        engine.jobs.result(
            engine.dsources.link("orders", "here", str(site.sources / "orders"), plugin="Trees")
        )
        engine.jobs.result(engine.dsources.sync("orders"))
        engine.jobs.result(
            engine.vdbs.provision("copy", "orders", "here", parameters=Given({"path": str(copy)}))
        )
        assert [one for one in engine.storage.repairs(hosts=True) if one.way != "end"] == []
        subprocess.run(["umount", copy], check=True)
        volume = engine.vdbs.get("copy").volume
    words = f"mount {volume} again at {copy} on here, as the ledger names it"

    assert main([*doctor, "--hosts"]) == 1
    said = capsys.readouterr().out
    assert f"1. {words}" in said
    assert not (copy / "row1").exists(), "it was shown only"
    assert main([*doctor, "--repair", "--yes"]) == 0
    assert words not in capsys.readouterr().out, "hosts were not asked about"
    assert main([*doctor, "--repair", "--hosts", "--yes"]) == 0
    assert f"1. {words}" in capsys.readouterr().out

    assert (copy / "row1").read_text() == "orders 1"
    assert site.mounts().count(str(copy)) == 1
    with site.open() as engine:
        assert engine.vdbs.status("copy") == "ACTIVE"
        assert [one for one in engine.storage.repairs(hosts=True) if one.way != "end"] == []
        engine.jobs.result(engine.dsources.delete("orders", force=True))
    assert site.mounts() == []
