"""Orphans in both directions, on a real Btrfs and in a pool of copies: planned, agreed to, then repaired."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.cli import main
from dlpx_remote.engine import Engine
from dlpx_remote.engine_storage import PoolChoice, Repair
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.mounts import kernelmounts, mountinfo
from dlpx_remote.store import Kind
from tests.storage.file_systems import run


@pytest.fixture(params=["copy", "btrfs"])
def engine(request: pytest.FixtureRequest, scratch: Path, file_systems: dict[str, Path]) -> Iterator[Engine]:
    """With a pool, and in it: a stranger, a lost and an orphaned volume; a stray mount and export."""
    with Engine(scratch / "state", on_warning=lambda _words: None) as opened:
        opened._workflows["fine"] = lambda job, request: None
        opened.storage.initialise(
            PoolChoice(file_systems[request.param] / str(uuid.uuid4()), kind=request.param)
        )
        pool = opened.storage.pool()
        for name in ("lost", "orphan", "stranger"):
            pool.create(name)
            (pool.path(name) / "file").write_text(name)
        pool.snapshot("orphan", "orphan-snapshot")
        pool._backend.delete("lost")
        opened.storage.ledger.gone(Kind.VOLUME, "stranger")
        stray = opened.storage.presentations.path("stray")
        stray.mkdir(parents=True)
        (scratch / "elsewhere").mkdir()
        kernelmounts.bind(scratch / "elsewhere", stray, (0, 0), (0, 0))
        exports = scratch / "state" / "exports"
        exports.mkdir(exist_ok=True)
        (exports / "nobody").write_text("/nowhere\n")
        yield opened
        if mountinfo.at(mountinfo.here(), str(stray.resolve())):
            run("umount", str(stray))
        for name in pool._backend.names():
            pool._backend.delete(name)


def planned(engine: Engine) -> list[Repair]:
    """Less what other runs on this machine may leave for a moment."""
    return [one for one in engine.storage.repairs() if one.way != "end"]


def words(engine: Engine) -> list[str]:
    return [one.words for one in planned(engine)]


def test_the_plan_names_everything_and_does_nothing(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    before = engine.storage.pool()._backend.names()
    pool = engine.storage.pool()

    stray = engine.storage.presentations.path("stray")
    assert words(engine) == [
        "stop serving nobody (local), which the ledger does not name; no data is lost",
        f"unmount {stray}, which the ledger does not name; no data is lost",
        f"DELETE {pool.path('stranger')} (1 entries), which the ledger does not name",
        f"DELETE {pool.path('orphan-snapshot')}, on which no dSource, VDB or snapshot stands",
        "forget the data set lost, which is not in the pool and which nothing uses",
    ]
    state = str(engine._store.directory)
    assert main(["--state", state, "doctor"]) == 1
    assert "doctor --repair would:" in capsys.readouterr().out
    assert main(["--state", state, "doctor", "--yes"]) == 2
    assert main(["--state", state, "doctor", "--repair"]) == 2, "nobody is there to agree"
    said = capsys.readouterr()
    assert "DELETE" in said.out
    assert "add --yes" in said.err
    assert pool._backend.names() == before


def test_what_was_agreed_to_is_done_and_nothing_else(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = engine.storage.pool()
    plan = [one for one in planned(engine) if one.name != "stranger"]
    pool.create("new")
    told: list[tuple[str, str]] = []

    assert engine.storage.repair(plan, lambda one, how: told.append((one.name, how)))

    assert {how for _, how in told} == {"done"}
    assert pool._backend.names() == {"orphan", "stranger", "new"}
    assert (pool.path("stranger") / "file").read_text() == "stranger"
    assert engine.storage.ledger.get(Kind.VOLUME, "lost") is None
    assert "stray" not in engine.storage.presentations.names()
    assert not (engine._store.directory / "exports" / "nobody").exists()

    for _ in range(2):  # the snapshot's parent is an orphan only now
        assert main(["--state", str(engine._store.directory), "doctor", "--repair", "--yes"]) == 0
    assert planned(engine) == []
    assert pool._backend.names() == frozenset()


def test_a_plan_is_not_carried_out_where_things_have_changed(engine: Engine) -> None:
    plan = planned(engine)
    engine.storage.ledger.intend(Kind.VOLUME, "stranger", details={"what": "data set", "record_size": None})
    engine.storage.ledger.present(Kind.VOLUME, "stranger")
    told: dict[str, str] = {}

    engine.storage.repair(plan, lambda one, how: told.update({one.name: how}))

    assert told["stranger"].startswith("left alone")
    assert (engine.storage.pool().path("stranger") / "file").exists()


def test_nothing_is_repaired_while_a_job_waits(engine: Engine) -> None:
    plan = planned(engine)
    engine.jobs.submit("fine", {}, "later", detach=True)

    with pytest.raises(InvalidRequest, match="while jobs run or wait: JOB-1"):
        engine.storage.repair(plan, lambda _one, _how: None)


def test_a_mount_of_a_volume_that_nobody_should_have_made_is_unmounted(engine: Engine, scratch: Path) -> None:
    pool = engine.storage.pool()
    pool.create("shown")
    (scratch / "seen").mkdir()
    point = str((scratch / "seen").resolve())
    run("mount", "--bind", str(pool.path("shown")), point)
    try:
        (found,) = [one for one in engine.storage.repairs() if one.way == "unmount here"]
        assert found.words == (
            f"unmount {point} (a mount of shown), which the ledger does not name; no data is lost"
        )
        with (scratch / "seen" / "held").open("w"):
            told: list[str] = []
            assert not engine.storage.repair([found], lambda _one, how: told.append(how))
        assert "cannot be unmounted: Device or resource busy" in told[0]
        assert engine.storage.repair([found], lambda _one, how: told.append(how))
        assert told[1] == "done"
        assert not mountinfo.at(mountinfo.here(), point)
        assert (pool.path("shown") / "held").exists()
    finally:
        if mountinfo.at(mountinfo.here(), point):
            run("umount", point)
