"""The pool's rules, the same on every back end: what the ledger says, and what may not be deleted."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.errors import InvalidRequest, NotFound
from dlpx_remote.storage.base import (
    BackendUnavailable,
    StorageError,
    VolumeExists,
    VolumeInUse,
    VolumeMissing,
)
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.pool import Pool, PoolBackend, Recovery, VolumeKind
from dlpx_remote.store import Kind, Ledger, State
from tests.storage.file_systems import run


def named(ledger: Ledger) -> dict[str, State]:
    return {entry.name: entry.state for entry in ledger.entries(kind=Kind.VOLUME)}


def test_what_is_made_is_in_the_ledger_with_its_origin(pool: Pool, backend: PoolBackend) -> None:
    pool.create("data", record_size=16384, job="JOB-1")
    pool.snapshot("data", "snapshot", job="JOB-2")
    pool.clone("snapshot", "clone", job="JOB-3")
    found = [
        (one.name, one.kind, one.parent, one.record_size, one.job, one.state, one.there)
        for one in pool.volumes()
    ]
    assert found == [
        ("data", VolumeKind.DATA_SET, None, 16384, "JOB-1", State.PRESENT, True),
        ("snapshot", VolumeKind.SNAPSHOT, "data", 16384, "JOB-2", State.PRESENT, True),
        ("clone", VolumeKind.CLONE, "snapshot", 16384, "JOB-3", State.PRESENT, True),
    ]
    assert [one.path for one in pool.volumes()] == [pool.path(one.name) for one in pool.volumes()]
    assert (pool.kind, pool.cheap_clones) == (backend.kind, backend.cheap_clones)


def test_a_call_that_is_made_again_gives_what_is_there(pool: Pool) -> None:
    first = pool.create("data")
    (pool.path("data") / "file").write_text("x")
    assert pool.create("data") == first
    snapshot = pool.snapshot("data", "snapshot")
    (pool.path("data") / "file").write_text("y")
    assert pool.snapshot("data", "snapshot") == snapshot
    clone = pool.clone("snapshot", "clone")
    assert pool.clone("snapshot", "clone") == clone
    assert (pool.path("clone") / "file").read_text() == "x"


def test_a_volume_with_dependants_stays_and_names_them(pool: Pool, ledger: Ledger) -> None:
    pool.create("data")
    pool.snapshot("data", "snapshot")
    pool.clone("snapshot", "clone")
    ledger.intend(Kind.EXPORT, "export-7", parent="clone")
    for name, dependants in (
        ("data", ("volume snapshot",)),
        ("snapshot", ("volume clone",)),
        ("clone", ("export export-7",)),
    ):
        with pytest.raises(VolumeInUse, match=f"{name} is still in use by {dependants[0]}") as caught:
            pool.delete(name)
        assert caught.value.dependants == dependants
    assert set(named(ledger).values()) == {State.PRESENT}
    ledger.gone(Kind.EXPORT, "export-7")
    for name in ("clone", "snapshot", "data"):
        pool.delete(name)
    assert (pool.volumes(), named(ledger)) == ([], {})


def test_a_volume_that_is_mounted_somewhere_stays(pool: Pool, tmp_path: Path) -> None:
    pool.create("data")
    (pool.path("data") / "a b").mkdir()
    point = tmp_path / "shown here"
    point.mkdir()
    run("mount", "--bind", str(pool.path("data") / "a b"), str(point))
    try:
        with pytest.raises(VolumeInUse, match=f"in use by mount {point}"):
            pool.delete("data")
    finally:
        run("umount", str(point))
    run("mount", "-t", "tmpfs", "none", str(pool.path("data") / "a b"))
    try:
        with pytest.raises(VolumeInUse, match=f"in use by mount {pool.path('data')}/a b"):
            pool.delete("data")
    finally:
        run("umount", str(pool.path("data") / "a b"))
    pool.delete("data")


def test_what_the_ledger_does_not_name_is_left_alone(pool: Pool, backend: PoolBackend) -> None:
    backend.create("stranger")
    (backend.path("stranger") / "file").write_text("x")
    assert pool.strangers() == ["stranger"]
    with pytest.raises(NotFound, match="names no volume stranger, so it is left alone"):
        pool.delete("stranger")
    with pytest.raises(VolumeExists, match="cannot be made: something of that name lies at"):
        pool.create("stranger")
    pool.create("data")
    with pytest.raises(VolumeExists, match="the ledger does not name it"):
        pool.snapshot("data", "stranger")
    assert pool.recover() == Recovery()
    assert (backend.path("stranger") / "file").read_text() == "x"


def test_deleting_what_nobody_knows_is_no_error(pool: Pool) -> None:
    pool.delete("data")
    pool.create("data")
    pool.delete("data")
    pool.delete("data")


def test_what_is_lost_is_said_and_can_be_deleted(pool: Pool, backend: PoolBackend) -> None:
    pool.create("data")
    pool.snapshot("data", "snapshot")
    backend.delete("snapshot")
    assert [(one.name, one.there) for one in pool.volumes()] == [("data", True), ("snapshot", False)]
    for call in (
        lambda: pool.clone("snapshot", "clone"),
        lambda: pool.snapshot("data", "snapshot"),
        lambda: pool.size("snapshot"),
    ):
        with pytest.raises(VolumeMissing, match="The volume snapshot is not there"):
            call()
    pool.delete("snapshot")
    assert [one.name for one in pool.volumes()] == ["data"]


def test_a_source_that_is_unknown_or_of_the_wrong_kind_is_refused(pool: Pool) -> None:
    with pytest.raises(VolumeMissing, match="names no volume data"):
        pool.snapshot("data", "snapshot")
    pool.create("data")
    pool.snapshot("data", "snapshot")
    with pytest.raises(InvalidRequest, match="data is a data set") as caught:
        pool.clone("data", "clone")
    assert caught.value.action == "Name a snapshot."
    with pytest.raises(InvalidRequest, match="snapshot is a snapshot") as caught:
        pool.snapshot("snapshot", "second")
    assert caught.value.action == "Name a data set or clone."
    with pytest.raises(VolumeExists, match="there is a data set of that name"):
        pool.snapshot("data", "data")
    assert [one.name for one in pool.volumes()] == ["data", "snapshot"]


def test_a_failure_leaves_nothing(pool: Pool, backend: PoolBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    real = backend.create

    def fail(*arguments: Any) -> None:
        real(*arguments)
        raise StorageError("No luck today.")

    with monkeypatch.context() as patched:
        patched.setattr(backend, "create", fail)
        with pytest.raises(StorageError, match="No luck today"):
            pool.create("data")
    assert (pool.volumes(), pool.strangers()) == ([], [])
    assert pool.create("data").there


def test_a_failure_that_cannot_be_cleared_up_is_left_to_the_recovery(
    pool: Pool, backend: PoolBackend, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise BackendUnavailable("No luck today.")

    with monkeypatch.context() as patched:
        patched.setattr(backend, "create", fail)
        patched.setattr(backend, "delete", fail)
        with pytest.raises(BackendUnavailable):
            pool.create("data")
    assert named(ledger) == {"data": State.INTENDED}
    assert pool.recover() == Recovery(undone=("data",))


def test_a_name_that_was_being_deleted_can_be_used_for_something_else(pool: Pool, ledger: Ledger) -> None:
    pool.create("one")
    (pool.path("one") / "file").write_text("x")
    for name in ("first", "second"):
        pool.snapshot("one", name)
    pool.clone("first", "clone")
    ledger.removing(Kind.VOLUME, "clone")
    clone = pool.clone("second", "clone")
    assert (clone.parent, (clone.path / "file").read_text()) == ("second", "x")


def test_one_name_asked_for_by_many_at_once_is_made_once(pool: Pool, backend: PoolBackend) -> None:
    pool.create("data")
    (pool.path("data") / "file").write_text("x")
    outcomes: list[object] = []

    def work() -> None:
        try:
            outcomes.append(pool.snapshot("data", "snapshot"))
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(repr, outcomes))) == 1, outcomes
    assert sorted(backend.names()) == ["data", "snapshot"]


def test_recovery_leaves_alone_what_another_process_is_at_work_on(
    pool: Pool, ledger: Ledger, place: Place
) -> None:
    ledger.intend(Kind.VOLUME, "data", details={"what": "data set", "record_size": None})
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with place.lock("data"):
            os.write(write, b"!")
            threading.Event().wait(60)
        os._exit(0)
    try:
        os.read(read, 1)
        assert pool.recover() == Recovery(under_way=("data",))
        assert named(ledger) == {"data": State.INTENDED}
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)
    assert pool.recover() == Recovery(undone=("data",))
    assert named(ledger) == {}
