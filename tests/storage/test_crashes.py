"""The engine killed with SIGKILL at every point of every call: afterwards all is finished or undone.

A forked child makes the call and kills itself before or after its n-th step; a step is whatever changes the
ledger or the file system. What is left is looked at from outside: directories, subvolumes, the ledger's rows.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.storage import btrfs_calls, trees
from dlpx_remote.storage.initialise import backend_for
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Kind, Ledger, State, Store

Call = Callable[[Pool], object]

CALLS: dict[str, Call] = {
    "create": lambda pool: pool.create("made"),
    "snapshot": lambda pool: pool.snapshot("data", "made"),
    "clone": lambda pool: pool.clone("snapshot", "made"),
    "delete": lambda pool: pool.delete("going"),
}
BEFORE = {"data": "one", "snapshot": "one"}

STEPS: list[tuple[object, str]] = [
    (Ledger, "intend"),
    (Ledger, "present"),
    (Ledger, "removing"),
    (Ledger, "gone"),
    (btrfs_calls, "create"),
    (btrfs_calls, "snapshot"),
    (btrfs_calls, "destroy"),
    (btrfs_calls, "synchronize"),
    (Path, "mkdir"),
    (Path, "chmod"),
    (Path, "rename"),
    (trees, "synchronize"),
    (trees, "_synchronize_all"),
    (trees.TreeBackend, "_run"),
]
"""Everything that changes something; each is a place to die before and after."""


def opened(kind: str, place: Place, state: Path) -> tuple[Store, Pool]:
    store = Store(state)
    return store, Pool(backend_for(kind, Place(place.root, place.identifier())), Ledger(store))


def killed_at(point: int, call: Call, kind: str, place: Place, state: Path) -> bool:
    """Make the call in a child that dies at a point; whether there was such a point."""
    child = os.fork()
    if child == 0:
        try:
            _, pool = opened(kind, place, state)
            _die_at(point)
            call(pool)
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _die_at(point: int) -> None:
    """In the child only: nothing is put back."""
    passed = 0

    def pass_by() -> None:
        nonlocal passed
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    for owner, name in STEPS:
        setattr(owner, name, _stepping(getattr(owner, name), pass_by))


def _stepping(function: Callable[..., Any], pass_by: Callable[[], None]) -> Callable[..., Any]:
    def step(*arguments: Any, **options: Any) -> Any:
        pass_by()
        result = function(*arguments, **options)
        pass_by()
        return result

    return step


# reflinks differ from copies in one word to cp, so one call stands for all of them
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in ("btrfs", "copy") for name in CALLS] + [("reflink", "clone")]
)
def test_after_a_crash_at_any_point_all_is_finished_or_undone(
    name: str, kind: str, place: Place, scratch: Path
) -> None:
    state = scratch / "state"
    store, pool = opened(kind, place, state)
    pool.create("data")
    (pool.path("data") / "file").write_text("one")
    pool.snapshot("data", "snapshot")
    outcomes = set()
    point = 0
    try:
        while True:
            if name == "delete":
                pool.snapshot("data", "going")
            store.close()
            if not killed_at(point, CALLS[name], kind, place, state):
                store, pool = opened(kind, place, state)
                break
            store, pool = opened(kind, place, state)
            recovered = pool.recover()
            outcomes |= {what for what in ("finished", "undone", "deleted") if getattr(recovered, what)}
            assert recovered.under_way == ()
            found = audit(pool, place, store)
            assert {volume: found[volume] for volume in BEFORE} == BEFORE
            CALLS[name](pool)  # the job makes the call again
            made = {"create": {"made": ""}, "delete": {}}.get(name, {"made": "one"})
            assert audit(pool, place, store) == {**BEFORE, **made}
            pool.delete("made")
            point += 1
    finally:
        store.close()
    assert point >= 6
    assert outcomes == ({"deleted"} if name == "delete" else {"finished", "undone"})


def audit(pool: Pool, place: Place, store: Store) -> dict[str, str]:
    """That ledger and file system agree to the letter; the content of each volume's file."""
    entries = Ledger(store).entries(kind=Kind.VOLUME)
    assert {entry.state for entry in entries} <= {State.PRESENT}
    on_disk = {path.name: path for path in place.volumes.iterdir()}
    assert set(on_disk) == {entry.name for entry in entries}
    assert list(place.unfinished.iterdir()) == []
    if pool.kind == "btrfs":
        assert all(path.stat().st_ino == btrfs_calls.FIRST_INODE for path in on_disk.values())
    return {
        name: (path / "file").read_text() if (path / "file").exists() else ""
        for name, path in on_disk.items()
    }


@pytest.mark.parametrize("kind", ["copy", "reflink"])
def test_a_copy_whose_engine_died_ends_with_it_and_leaves_nothing(
    kind: str, place: Place, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = scratch / "state"
    store, pool = opened(kind, place, state)
    pool.create("data")
    os.mkfifo(place.root / "slow")
    store.close()
    # a program that has the copy half made, and is not done before somebody reads what it writes
    programs = scratch / "programs"
    programs.mkdir()
    (programs / "cp").write_text(
        '#!/bin/sh\nfor last; do :; done\nmkdir "$last"\necho x > "$last/half"\n'
        f"echo $$ > {place.root}/slow\nexec sleep 60\n"
    )
    (programs / "cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    child = os.fork()
    if child == 0:
        opened(kind, place, state)[1].snapshot("data", "made")
        os._exit(0)
    copying = int((place.root / "slow").read_text())
    monkeypatch.undo()
    assert (place.unfinished / "new-made" / "half").exists()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    store, pool = opened(kind, place, state)
    with place.lock("made"):
        pass  # the copying program holds it for as long as it is there
    assert not Path(f"/proc/{copying}").exists() or "Z" in Path(f"/proc/{copying}/stat").read_text()
    assert pool.recover().undone == ("made",)
    assert audit(pool, place, store) == {"data": ""}
    store.close()
