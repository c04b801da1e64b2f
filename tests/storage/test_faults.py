"""What goes wrong beneath a pool: it is full, read-only, its device is gone. Nothing is left half done."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.storage.base import BackendUnavailable, PoolFull
from dlpx_remote.storage.initialise import backend_for
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Ledger
from tests.storage.conftest import FILE_SYSTEM
from tests.storage.file_systems import MIB, mounted, run


@pytest.fixture
def own_place(kind: str, scratch: Path) -> Iterator[Place]:
    """A pool on a small file system that nobody else uses."""
    name = "btrfs, small" if kind == "btrfs" else FILE_SYSTEM[kind]
    with mounted(name, scratch / "own") as point:
        place = Place(point / "pool", str(uuid.uuid4()))
        place.prepare(str(place._identifier))
        yield place


@pytest.fixture
def own_pool(kind: str, own_place: Place, ledger: Ledger) -> Pool:
    return Pool(backend_for(kind, own_place), ledger)


def fill(directory: Path, leave: int = 0) -> None:
    """Write until nothing fits any more, then free ``leave`` bytes."""
    for size in (4 * MIB, 64 * 1024, 4096):
        for number in range(100_000):
            path = directory / f"filling-{size}-{number}"
            try:
                with path.open("wb") as file:
                    file.write(os.urandom(size))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                path.unlink(missing_ok=True)
                break
    freed = 0
    for path in sorted(directory.glob("filling-4194304-*")):
        if freed >= leave:
            break
        freed += path.stat().st_size
        path.unlink()
    run("sync", "-f", str(directory))


def clone_until_full(pool: Pool, names: Iterator[str]) -> None:
    """Where a clone takes next to nothing, something is written into each."""
    for name in names:
        pool.clone("snapshot", name)
        with contextlib.suppress(OSError), (pool.path(name) / "more").open("wb") as file:
            file.write(os.urandom(200_000))
            file.flush()
            os.fsync(file.fileno())


def test_a_full_pool_is_an_error_that_leaves_no_half_volume(own_pool: Pool, own_place: Place) -> None:
    own_pool.create("data")
    (own_pool.path("data") / "file").write_bytes(os.urandom(6 * MIB))
    own_pool.snapshot("data", "snapshot")
    own_pool.create("filling")
    fill(own_pool.path("filling"), leave=0 if own_pool.cheap_clones else 4 * MIB)
    names = (f"clone-{number}" for number in range(3000))
    with pytest.raises(PoolFull, match="is full") as caught:
        clone_until_full(own_pool, names)
    made = int(next(names).removeprefix("clone-")) - 1
    assert "taken away again" in caught.value.action
    there = {path.name for path in own_place.volumes.iterdir()}
    assert there == {volume.name for volume in own_pool.volumes() if volume.there}
    assert there == {"data", "snapshot", "filling", *(f"clone-{number}" for number in range(made))}
    assert list(own_place.unfinished.iterdir()) == []
    assert any("free in" in problem for problem in own_pool.health().problems)
    own_pool.delete("filling")  # deleting works in a full pool, and makes room
    own_pool.create("room")
    assert "room" in {volume.name for volume in own_pool.volumes()}


def test_writing_into_a_full_pool_harms_nothing_that_was_there(own_pool: Pool) -> None:
    own_pool.create("data")
    content = os.urandom(2 * MIB)
    (own_pool.path("data") / "file").write_bytes(content)
    own_pool.snapshot("data", "snapshot")
    own_pool.clone("snapshot", "clone")
    fill(own_pool.path("clone"))
    for name in ("data", "snapshot", "clone"):
        assert (own_pool.path(name) / "file").read_bytes() == content
    own_pool.delete("clone")
    own_pool.clone("snapshot", "clone")


def test_a_read_only_file_system_says_so(own_pool: Pool, own_place: Place) -> None:
    own_pool.create("data")
    run("mount", "-o", "remount,ro", str(own_place.root.parent))
    for call in (
        lambda: own_pool.create("other"),
        lambda: own_pool.snapshot("data", "snapshot"),
        lambda: own_pool.delete("data"),
    ):
        with pytest.raises(BackendUnavailable, match="read-only") as caught:
            call()
        assert "dmesg" in caught.value.action
    assert any("read-only" in problem for problem in own_pool.health().problems)
    run("mount", "-o", "remount,rw", str(own_place.root.parent))
    assert [volume.name for volume in own_pool.volumes()] == ["data"]
    own_pool.snapshot("data", "snapshot")


def test_a_file_system_that_went_away_says_so(own_pool: Pool, own_place: Place) -> None:
    own_pool.create("data")
    point = own_place.root.parent
    run("umount", str(point))
    try:
        for call in (
            lambda: own_pool.create("other"),
            lambda: own_pool.delete("data"),
            own_pool.recover,
            own_pool.volumes,
            own_pool.health,
        ):
            with pytest.raises(BackendUnavailable, match="is not there"):
                call()
        assert list(point.iterdir()) == []  # nothing was made where the file system should have been
    finally:
        run("mount", "-o", "loop", str(point.parent / "image"), str(point))
    assert [(volume.name, volume.there) for volume in own_pool.volumes()] == [("data", True)]


def loop_device(image: Path) -> str:
    """The device that the file is mounted through."""
    done = subprocess.run(["losetup", "-j", str(image)], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split(":")[0]


def test_a_device_that_lost_its_content_says_so(own_pool: Pool, own_place: Place) -> None:
    own_pool.create("data")
    (own_pool.path("data") / "file").write_bytes(os.urandom(MIB))
    image = own_place.root.parent.parent / "image"
    os.truncate(image, 0)
    run("losetup", "--set-capacity", loop_device(image))
    with pytest.raises(BackendUnavailable) as caught:  # noqa: PT012
        for number in range(20):
            own_pool.create(f"volume-{number}")
            own_pool.snapshot("data", f"snapshot-{number}")
    assert "dmesg" in caught.value.action or "storage status" in caught.value.action
