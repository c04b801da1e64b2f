"""A pool on each back end, on a file system of its kind; after each test nothing of it is left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.storage.btrfs import BtrfsBackend
from dlpx_remote.storage.copy import CopyBackend
from dlpx_remote.storage.initialise import backend_for
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.pool import Pool, PoolBackend
from dlpx_remote.storage.reflink import ReflinkBackend
from dlpx_remote.store import Ledger, Store
from tests.storage.file_systems import in_memory, mounted, run

FILE_SYSTEM = {BtrfsBackend.kind: "btrfs", ReflinkBackend.kind: "xfs", CopyBackend.kind: "ext4"}
KINDS = list(FILE_SYSTEM)


@pytest.fixture(scope="session")
def file_systems() -> Iterator[dict[str, Path]]:
    """One of each kind for the whole run, by kind of back end."""
    with (
        in_memory() as base,
        mounted("btrfs", base / "btrfs") as btrfs,
        mounted("xfs", base / "xfs") as xfs,
        mounted("ext4", base / "ext4") as ext4,
    ):
        yield {"btrfs": btrfs, "reflink": xfs, "copy": ext4}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of back end in turn."""
    return str(request.param)


@pytest.fixture
def place(kind: str, file_systems: dict[str, Path]) -> Iterator[Place]:
    """The directory of an empty pool."""
    identifier = str(uuid.uuid4())
    made = Place(file_systems[kind] / identifier, identifier)
    made.prepare(identifier)
    yield made
    remove(made)


@pytest.fixture
def backend(kind: str, place: Place) -> PoolBackend:
    """The back end in that directory."""
    return backend_for(kind, place)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory in memory."""
    with in_memory() as directory:
        yield directory


@pytest.fixture
def ledger(scratch: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    store = Store(scratch / "state")
    yield Ledger(store)
    store.close()


@pytest.fixture
def pool(backend: PoolBackend, ledger: Ledger) -> Pool:
    """The pool of both."""
    return Pool(backend, ledger)


def remove(place: Place) -> None:
    """A pool's directory with whatever is in it, so that the next test has all the room."""
    for volume in place.volumes.iterdir():
        if volume.stat().st_ino == 256 and volume.is_dir():
            run("btrfs", "--quiet", "subvolume", "delete", str(volume))
    run("rm", "-rf", str(place.root))
