"""``status`` and ``lineage`` of an engine with real objects."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dlpx_remote.cli import main
from dlpx_remote.engine_sources import Given
from tests.hosts.lifecycle.site import Site

_LINE = re.compile(r'(# (HELP|TYPE) dlpx_remote_\w+ .+|dlpx_remote_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? \d+)')


def test_everything_is_seen_at_a_glance(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*words: str) -> str:
        assert main(["--state", str(site.state), *words]) == 0
        return capsys.readouterr().out

    with site.open() as engine:
        result = engine.jobs.result
        source = str(site.sources / "orders")
        result(engine.dsources.link("orders", "here", source, plugin="Trees"))
        first = result(engine.dsources.sync("orders"))["snapshot"]
        result(engine.dsources.sync("orders"))
        path = Given({"path": str(site.targets / "one")})
        result(engine.vdbs.provision("one", first, "here", parameters=path))
        own = result(engine.vdbs.snapshot("one"))["snapshot"]
        result(engine.vdbs.rollback("one", own))
        engine.schedules.add("orders", "sync", "0 2 * * *")

    table = shown("status")
    assert re.search(r"storage: +copy, \d+ % used, \d+ volumes", table)
    assert re.search(r"jobs: +7 succeeded in the last 24 hours", table)
    assert "SCHEDULE-1 sync of orders: next on" in table
    document = json.loads(shown("status", "--output", "json"))
    assert [one["name"] for one in document["dsources"] + document["vdbs"]] == ["orders", "one"]

    lines = shown("status", "--output", "prometheus").splitlines()
    assert all(_LINE.fullmatch(line) for line in lines), lines
    assert 'dlpx_remote_source_snapshots{name="orders",kind="dsource"} 2' in lines
    assert 'dlpx_remote_jobs{state="succeeded"} 7' in lines

    grown = shown("job", "show", "JOB-3", "--tree").splitlines()
    assert re.fullmatch(r"JOB-3 sync the dSource orders  \([\d.]+ s\) succeeded", grown[0])
    assert any(re.match(r"├── linked.post_snapshot of Trees  \(", line) for line in grown)
    assert grown[-1].startswith("└── ")
    usage = json.loads(shown("storage", "usage", "--output", "json"))
    assert {one["object"]: one["volumes"] for one in usage} == {"orders": 3, "one": 4}
    assert all(one["logical"] > 0 for one in usage)

    tree = re.sub(r"  \S+ \S+ UTC", "", shown("lineage"))
    assert tree.splitlines() == [
        "dSource orders (enabled)",
        f"├── {first}",
        "│   └── VDB one (enabled)",
        "│       ├── SNAPSHOT-3",
        f"│       └── {own}",
        "└── SNAPSHOT-2",
    ]

    with site.open() as engine:
        engine.jobs.result(engine.dsources.delete("orders", force=True))


def test_an_empty_engine_says_what_to_do_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state", str(tmp_path / "state")]

    assert main([*state, "status"]) == 0
    assert "dlpx-remote storage init" in capsys.readouterr().out
    assert main([*state, "lineage"]) == 0
    assert "dsource link" in capsys.readouterr().out
