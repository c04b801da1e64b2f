"""A state that is lost while a VDB runs, and brought back from a backup."""

from __future__ import annotations

from dlpx_remote.engine_backup import back_up, restore
from dlpx_remote.engine_sources import Given
from tests.hosts.lifecycle.site import Site


def test_a_vdb_runs_on_and_can_be_worked_with_after_a_restore(site: Site) -> None:
    before = site.left()
    copy = site.targets / "copy"
    with site.open() as engine:
        result = engine.jobs.result
        result(engine.dsources.link("orders", "here", str(site.sources / "orders"), plugin="Trees"))
        result(engine.dsources.sync("orders"))
        result(engine.vdbs.provision("copy", "orders", "here", parameters=Given({"path": str(copy)})))
    back_up(site.state, None, site.root / "kept")
    (copy / "row2").write_text("written since")

    lost = site.root / "lost"
    lost.mkdir()
    for name in (
        "state.db",
        "state.db-wal",
        "state.db-shm",
        "jobs.db",
        "ledger.mark",
        "known_hosts",
        "plugins",
    ):
        if (site.state / name).exists():
            (site.state / name).rename(lost / name)
    restore(site.root / "kept", site.state)

    with site.open() as engine:
        result = engine.jobs.result
        assert (copy / "row2").read_text() == "written since", "nothing happened to what runs"
        assert engine.vdbs.status("copy") == "ACTIVE"
        result(engine.vdbs.snapshot("copy"))
        result(engine.vdbs.refresh("copy"))
        assert not (copy / "row2").exists()
        result(engine.vdbs.rollback("copy"))
        assert (copy / "row2").exists()
        result(engine.dsources.delete("orders", force=True))
    assert site.left() == before
