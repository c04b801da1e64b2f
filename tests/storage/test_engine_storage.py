"""Storage through the engine's Python API: status, volumes, recovery at opening, the doctor's findings."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.engine import Engine, EnvironmentSpec, InvalidRequest, NotSent
from dlpx_remote.engine_storage import PoolChoice, Recovery
from dlpx_remote.mounts import kernelmounts, mountinfo
from dlpx_remote.mounts.base import Export, Placement, Served
from dlpx_remote.mounts.records import MountRecord
from dlpx_remote.mounts.source import Source
from dlpx_remote.store import Kind, State, StateError
from dlpx_remote.workflows import doctor
from dlpx_remote.workflows.differences import Finding, HostTable, differences
from dlpx_remote.workflows.doctor import examine
from tests.storage.file_systems import MIB, run


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def engine(scratch: Path, warnings: list[str]) -> Iterator[Engine]:
    with Engine(scratch / "state", on_warning=warnings.append) as opened:
        yield opened


@pytest.fixture
def pool(engine: Engine, scratch: Path) -> Path:
    engine.storage.initialise(PoolChoice(scratch / "pool", kind="copy"))
    return scratch / "pool"


def findings(engine: Engine, area: str) -> list[Finding]:
    return [one for one in engine.storage.doctor() if one.area == area]


def test_full_copies_are_said_loudly(engine: Engine, pool: Path, warnings: list[str]) -> None:
    (warning,) = warnings
    assert "every snapshot and clone is a full copy" in warning
    assert "--image FILE" in warning
    assert not engine.storage.status().cheap_clones


def test_cheap_clones_need_no_warning(
    engine: Engine, file_systems: dict[str, Path], warnings: list[str]
) -> None:
    status = engine.storage.initialise(PoolChoice(file_systems["btrfs"] / "quiet"))
    assert (status.kind, status.cheap_clones, warnings) == ("btrfs", True, [])


def test_status_tells_what_there_is(engine: Engine, pool: Path) -> None:
    engine.storage.pool().create("data")
    status = engine.storage.status()
    assert (status.kind, status.path, status.volumes, status.problems) == ("copy", pool, 1, ())
    assert 0 < status.free <= status.total
    assert status.recovered == Recovery()


def test_an_engine_without_a_pool_says_how_to_get_one(engine: Engine) -> None:
    for call in (engine.storage.status, engine.storage.volumes, engine.storage.pool):
        with pytest.raises(InvalidRequest, match="has no storage yet"):
            call()


def test_volumes_are_listed_with_their_sizes_on_demand(engine: Engine, pool: Path) -> None:
    engine.storage.pool().create("data", job="JOB-4", record_size=8192)
    (engine.storage.pool().path("data") / "file").write_bytes(b"x" * MIB)
    engine.storage.pool().snapshot("data", "snapshot")
    found = engine.storage.volumes()
    assert [(one.name, one.kind, one.parent, one.job, one.logical) for one in found] == [
        ("data", "data set", None, "JOB-4", None),
        ("snapshot", "snapshot", "data", None, None),
    ]
    assert found[0].record_size == 8192
    assert [(one.logical, one.own) for one in engine.storage.volumes(sizes=True)] == [(MIB, MIB)] * 2


def test_what_a_dead_engine_had_begun_is_finished_when_the_next_opens_the_pool(
    engine: Engine, pool: Path, scratch: Path
) -> None:
    ledger, opened = engine.storage.ledger, engine.storage.pool()
    opened.create("going")
    ledger.removing(Kind.VOLUME, "going")
    details = {"what": "data set", "record_size": None}
    ledger.intend(Kind.VOLUME, "never", details=details)
    ledger.intend(Kind.VOLUME, "made", details=details)
    (pool / "volumes" / "made").mkdir()
    with Engine(scratch / "state") as second:
        recovered = second.storage.status().recovered
    assert (recovered.finished, recovered.undone, recovered.deleted) == (("made",), ("never",), ("going",))
    assert [one.name for one in engine.storage.volumes()] == ["made"]


# the doctor


def test_every_finding_that_is_not_ok_says_what_to_do(engine: Engine) -> None:
    found = engine.storage.doctor()
    assert {one.area for one in found} == {"machine", "storage", "NFS", "ledger"}
    for one in found:
        assert one.what
        assert one.words
        assert bool(one.action) is (one.standing != "ok"), one


def test_a_missing_pool_is_missing_and_not_wrong(engine: Engine) -> None:
    (pool,) = [one for one in findings(engine, "storage") if one.what == "pool"]
    assert (pool.standing, pool.words) == ("missing", "none prepared")
    assert "storage init" in pool.action


def test_a_pool_that_is_away_is_wrong(engine: Engine, pool: Path) -> None:
    (pool / "dlpx-remote-pool.json").unlink()
    (found,) = [one for one in findings(engine, "storage") if one.what == "pool"]
    assert (found.standing, "is not there" in found.words) == ("wrong", True)


def test_all_is_well(engine: Engine, pool: Path) -> None:
    engine.storage.pool().create("data")
    (found,) = findings(engine, "ledger")
    assert (found.standing, found.words) == ("ok", "agrees with what is there")


def test_what_differs_between_ledger_and_pool_is_found(engine: Engine, pool: Path) -> None:
    opened = engine.storage.pool()
    for name in ("lost", "kept", "half", "going"):
        opened.create(name)
    (pool / "volumes" / "lost").rmdir()
    (pool / "volumes" / "stranger").mkdir()
    engine.storage.ledger.removing(Kind.VOLUME, "going")
    engine.storage.ledger.intend(
        Kind.VOLUME, "new", details={"what": "data set", "record_size": None, "other": 1}
    )
    found = {one.what: one.words for one in findings(engine, "ledger")}
    assert found == {
        "volume lost": f"the ledger names it, but it is not in {pool}",
        "volume going": "it was being removed, and is not finished",
        "volume new": "it was being made, and is not finished",
        "volume stranger": f"it is in {pool}, but the ledger does not name it; the engine leaves it alone",
    }
    assert (pool / "volumes" / "stranger").is_dir()
    assert engine.storage.ledger.get(Kind.VOLUME, "going").state is State.REMOVING  # type: ignore[union-attr]


class Serving:
    """A server that serves what it is told, or is not well."""

    kind = "ganesha"

    def __init__(self, *served: str, problem: str = "") -> None:
        self.served, self.problem = frozenset(served), problem

    def maps_owners(self, directory: Path) -> bool:
        return True

    def add(self, export: Export) -> Served:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        raise NotImplementedError

    def names(self) -> frozenset[str]:
        return self.served

    def problems(self) -> tuple[str, ...]:
        return (self.problem,) if self.problem else ()

    def close(self) -> None:
        pass


def test_exports_and_presentations_are_compared_too(engine: Engine, pool: Path, scratch: Path) -> None:
    engine.storage.pool().create("data")
    ledger = engine.storage.ledger
    for kind, name in ((Kind.EXPORT, "one"), (Kind.EXPORT, "two"), (Kind.PRESENTATION, "data")):
        ledger.intend(kind, name, parent="data", details={"kind": "ganesha"})
        ledger.present(kind, name)
    found = examine(
        engine.storage.settings,
        ledger,
        scratch / "state",
        presentations=engine.storage.presentations,
        exporters={"ganesha": Serving("two", "three", problem="It is not well.")},
    )
    assert [(one.what, one.standing) for one in found if one.area == "ledger"] == [
        ("presentation data", "wrong"),
        ("export one", "wrong"),
        ("export three", "wrong"),
    ]
    assert ("the server (ganesha)", "wrong", "It is not well.") in [
        (one.what, one.standing, one.words) for one in found
    ]


def test_a_server_that_nobody_uses_is_missing_at_most(engine: Engine, scratch: Path) -> None:
    for problem, standing in (("It is not installed.", "missing"), ("", "ok")):
        found = examine(
            engine.storage.settings,
            engine.storage.ledger,
            scratch / "state",
            presentations=engine.storage.presentations,
            exporters={"ganesha": Serving(problem=problem)},
        )
        assert [one.standing for one in found if one.what == "the server (ganesha)"] == [standing]


def test_a_volume_that_somebody_mounted_on_this_machine_is_found(
    engine: Engine, pool: Path, tmp_path: Path
) -> None:
    engine.storage.pool().create("data")
    run("mount", "--bind", str(pool / "volumes" / "data"), str(tmp_path))
    try:
        (found,) = findings(engine, "ledger")
    finally:
        run("umount", str(tmp_path))
    assert (found.what, f"at {tmp_path} on this machine" in found.words) == ("mount of data", True)


NFS_MOUNT = (
    b"36 25 0:50 / /srv/mine rw,noatime - nfs4 10.0.0.1:/dlpx/data.UNIX_HOST_ENVIRONMENT-1 rw,vers=4.1\n"
    b"37 25 0:51 / /srv/odd\\040one rw - nfs4 10.0.0.1:/dlpx/old.UNIX_HOST_ENVIRONMENT-1 rw,vers=4.1\n"
    b"38 25 0:52 / /home rw - nfs4 10.0.0.9:/home rw,vers=4.1\n"
)


def test_mounts_on_hosts_are_compared_with_their_mount_tables(engine: Engine, pool: Path) -> None:
    engine.storage.pool().create("data")
    ledger = engine.storage.ledger
    for path in ("/srv/mine", "/srv/gone"):
        placement = Placement("UNIX_HOST_ENVIRONMENT-1", "HOST_USER-1", path)
        source = Source("nfs", "10.0.0.1:/dlpx/data.UNIX_HOST_ENVIRONMENT-1", ("rw",), None, "4.1")
        record = MountRecord(placement, "data.UNIX_HOST_ENVIRONMENT-1", path, source)
        ledger.intend(Kind.MOUNT, f"UNIX_HOST_ENVIRONMENT-1:{path}", parent="data", details=record.details())
        ledger.present(Kind.MOUNT, f"UNIX_HOST_ENVIRONMENT-1:{path}")
    error = NotSent("db2 does not answer.", "See whether it is up.")
    found = differences(
        ledger,
        engine.storage.pool(),
        presentations=engine.storage.presentations,
        exporters={},
        hosts=[
            HostTable("UNIX_HOST_ENVIRONMENT-1", "db1", mountinfo.parse(NFS_MOUNT)),
            HostTable("UNIX_HOST_ENVIRONMENT-2", "db2", error=error),
        ],
    )
    assert [(one.what, one.words) for one in found] == [
        ("mount /srv/gone", "the ledger names it, but it is not on db1"),
        (
            "mount /srv/odd one",
            "it is on db1, from 10.0.0.1:/dlpx/old.UNIX_HOST_ENVIRONMENT-1, but the ledger does not name it; "
            "the engine leaves it alone",
        ),
        ("mounts on db2", "db2 does not answer."),
    ]


def test_a_host_that_does_not_answer_is_a_finding(engine: Engine, pool: Path) -> None:
    engine.add_environment(EnvironmentSpec("away", "127.0.0.1", port=1, user="nobody"))
    (found,) = [one for one in engine.storage.doctor(hosts=True) if one.area == "ledger"]
    assert (found.what, found.standing, bool(found.action)) == ("mounts on away", "wrong", True)
    assert [one.what for one in engine.storage.doctor() if one.area == "ledger"] == ["the ledger"]


def test_a_volume_that_is_presented_without_the_ledger_is_found(engine: Engine, pool: Path) -> None:
    opened = engine.storage.pool()
    opened.create("data")
    engine.storage.presentations.present("data", opened.path("data"), None)
    try:
        (found,) = findings(engine, "ledger")
        assert found.what == "presentation data"
        assert "the ledger does not name it" in found.words
    finally:
        engine.storage.presentations.withdraw("data")


def test_whether_owners_can_be_mapped_is_tried(
    engine: Engine, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = [one for one in findings(engine, "storage") if one.what == "owners mapped by a mount"]
    assert (found.standing, found.words) == ("ok", f"tried in {pool}")

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(kernelmounts, "bind", refuse)
    (found,) = [one for one in findings(engine, "storage") if one.what == "owners mapped by a mount"]
    assert (found.standing, "owners are changed file by file" in found.words) == ("missing", True)
    assert sorted(path.name for path in pool.iterdir()) == ["dlpx-remote-pool.json", "unfinished", "volumes"]


def test_a_damaged_ledger_is_found(engine: Engine, pool: Path, scratch: Path) -> None:
    engine.storage.pool().create("data")
    (scratch / "state" / "ledger.mark").write_text("00000000000000000099\n")
    with pytest.raises(StateError, match="is older than it was"):
        engine.storage.pool().create("other")
    (found,) = findings(engine, "ledger")
    assert (found.standing, "is older than it was" in found.words) == ("wrong", True)


def test_damaged_settings_are_found(engine: Engine, pool: Path, scratch: Path) -> None:
    with sqlite3.connect(scratch / "state" / "state.db") as connection:
        connection.execute("UPDATE settings SET digest = 'x'")
    connection.close()
    (found,) = [one for one in findings(engine, "storage") if one.what == "pool"]
    assert (found.standing, "The setting storage.pool" in found.words) == ("wrong", True)


def test_a_copying_pool_where_better_is_possible_is_told(
    engine: Engine, file_systems: dict[str, Path]
) -> None:
    engine.storage.initialise(PoolChoice(file_systems["btrfs"] / "copying", kind="copy"))
    (found,) = [one for one in findings(engine, "storage") if one.what == "back end"]
    assert "though this file system allows btrfs" in found.words


def test_a_machine_that_can_do_nothing_gets_a_word_for_everything(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "program", lambda _: None)
    monkeypatch.setattr(doctor, "_module", lambda _: False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    found = {one.what: one for one in engine.storage.doctor()}
    for what, package in (
        ("mkfs.btrfs", "btrfs-progs"),
        ("ganesha.nfsd", "nfs-ganesha nfs-ganesha-vfs"),
        ("exportfs", "nfs-kernel-server"),
        ("rsync", "rsync"),
    ):
        assert (found[what].standing, found[what].action) == ("missing", f"apt-get install {package}")
    assert "Run dlpx-remote as root" in found["account"].action
