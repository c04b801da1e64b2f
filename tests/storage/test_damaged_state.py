"""A state file that was cut off or had a bit flipped at any place: the engine refuses, and deletes nothing.

A flip in a part of the file that holds nothing, or nothing of the ledger, need not be noticed; then all must
be exactly as it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dlpx_remote.storage.base import VolumeInUse
from dlpx_remote.storage.copy import CopyBackend
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Kind, Ledger, State, StateError, Store
from tests.storage.file_systems import in_memory

CUTS, FLIPS = 600, 400
SEED = 20261125


class Watched(CopyBackend):
    """Notes what it is asked to delete instead of deleting it."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.deleted: list[str] = []

    def delete(self, name: str) -> None:
        self.deleted.append(name)


@dataclass
class Engine:
    """An engine that was closed in good order, and all that it knew."""

    state: Path
    place: Place
    content: bytes
    entries: list[object]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with in_memory() as directory:
        place = Place(directory / "pool", "one")
        place.prepare("one")
        store = Store(directory / "state")
        ledger = Ledger(store)
        pool = Pool(CopyBackend(place), ledger)
        for number in range(8):
            pool.create(f"data-{number}", job="JOB-1")
            pool.snapshot(f"data-{number}", f"snapshot-{number}")
            pool.clone(f"snapshot-{number}", f"clone-{number}")
            ledger.intend(Kind.EXPORT, f"export-{number}", parent=f"clone-{number}", details={"port": 2049})
        pool.create("going")
        ledger.removing(Kind.VOLUME, "going")
        entries: list[object] = [*ledger.entries()]
        store.close()
        assert sorted(path.name for path in (directory / "state").iterdir()) == [
            "ledger.mark",
            "open.lock",
            "state.db",
        ]
        yield Engine(directory / "state", place, (directory / "state" / "state.db").read_bytes(), entries)


def cut_off(content: bytes, place: int) -> bytes:
    return content[:place]


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << place % 8
    return bytes(changed)


@pytest.mark.parametrize(("damage", "times", "least"), [(cut_off, CUTS, CUTS), (flipped, FLIPS, FLIPS // 4)])
def test_a_damaged_state_is_refused_or_the_damage_means_nothing(
    engine: Engine, damage: Callable[[bytes, int], bytes], times: int, least: int
) -> None:
    random_places = random.Random(SEED)
    refused = 0
    mark = (engine.state / "ledger.mark").read_bytes()
    written = [place for place, byte in enumerate(engine.content) if byte]  # most of the rest holds nothing
    for _ in range(times):
        place = random_places.choice(written)
        content = damage(engine.content, place)
        (engine.state / "state.db").write_bytes(content)
        (engine.state / "ledger.mark").write_bytes(mark)
        backend = Watched(engine.place)
        where = f"{damage.__name__} at {place}"
        found = use(engine.state, backend)
        if isinstance(found, StateError):
            refused += 1
            assert backend.deleted == [], f"{where}: {found}"
            assert str(engine.state) in found.message, where
            assert found.action, f"{where}: {found}"
        else:
            assert found == engine.entries, f"{where} went unnoticed"
            assert backend.deleted == ["going"], where
    assert refused >= least
    assert len(list(engine.place.volumes.iterdir())) == 25


def use(state: Path, backend: Watched) -> list[object] | StateError:
    """What an engine does first: open, recover, delete; what it knew before, or why it would not."""
    try:
        store = Store(state)
    except StateError as error:
        return error
    try:
        ledger = Ledger(store)
        known: list[object] = [*ledger.entries()]
        pool = Pool(backend, ledger)
        assert pool.recover().deleted == ("going",)
        with pytest.raises(VolumeInUse):
            pool.delete("clone-3")
        assert ledger.get(Kind.VOLUME, "clone-1").state is State.PRESENT  # type: ignore[union-attr]
        return known
    except StateError as error:
        return error
    finally:
        store.close()
