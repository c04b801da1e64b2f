"""Clones on Btrfs: their time with 1,000 to 1,000,000 files, ownership included, and their space.

Ours is what the engine does: the ledger's three commits, the snapshot, and a mount that shows the files as
another user's. The peers do less: ``btrfs subvolume snapshot`` makes a snapshot that belongs to whomever the
data set belongs to, ``cp -a --reflink=always`` copies the tree file by file, with its owners.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.records import Record, Target, judge
from dlpx_remote.mounts.base import Owner
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.storage import btrfs_calls, devices
from dlpx_remote.storage.initialise import PoolChoice, initialise, open_pool
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Ledger, Settings, Store

ROUNDS = 7
OURS, SNAPSHOT, COPY = "engine", "btrfs", "cp --reflink"
FILES = {"clone-1k": 1_000, "clone-100k": 100_000, "clone-1m": 1_000_000}
FLAT, SPACE, SPARSE = "clone-flat", "clone-space", "clone-sparse"
MEASURES = [*FILES, FLAT, SPACE, SPARSE]

_POOL = 16 * 1024**3  # bytes of a file that is filled to a tenth
_SPARSE = 1024**4
_MANY = 50  # clones over which the space of one is the mean
_OWNER = Owner(12345, 12345)
_MOST_COPIED = 100_000  # files; with more, cp takes half a minute a round


@dataclass(frozen=True)
class Place:
    """The pool of the benchmark."""

    pool: Pool
    presentations: Presentations

    def presented(self, origin: str) -> float:
        """Clone a snapshot and show it as another user's; milliseconds."""
        began = time.perf_counter()
        clone = self.pool.clone(origin, "clone")
        shown = self.presentations.present("clone", clone.path, _OWNER)
        took = time.perf_counter() - began
        if shown.way != "mapped" or shown.directory.stat().st_uid != _OWNER.uid:
            raise RuntimeError("The clone does not belong to the user that was asked for.")
        self.presentations.withdraw("clone")
        self.pool.delete("clone")
        return took * 1000

    def by_peer(self, command: Sequence[str], origin: str) -> float:
        """The same by a program, without the other owner; milliseconds."""
        target = self.pool.root / "by-peer"
        began = time.perf_counter()
        subprocess.run(
            [*command, str(self.pool.path(origin)), str(target)], check=True, stdout=subprocess.DEVNULL
        )
        took = time.perf_counter() - began
        self._remove(target)
        return took * 1000

    def used(self) -> int:
        """Bytes of the file system that are taken, with what it keeps twice."""
        self.settle()
        with btrfs_calls.opened(self.pool.root) as root:
            kinds = Path("/sys/fs/btrfs") / btrfs_calls.file_system(root) / "allocation"
        return sum(int((kinds / kind / "disk_used").read_text()) for kind in ("data", "metadata", "system"))

    def settle(self) -> None:
        """Let nothing that was written before be paid for later."""
        subprocess.run(["sync", "--file-system", str(self.pool.root)], check=True)

    def _remove(self, target: Path) -> None:
        if target.stat().st_ino == btrfs_calls.FIRST_INODE:
            with btrfs_calls.opened(target.parent) as parent:
                btrfs_calls.destroy(parent, target.name.encode())
        else:
            subprocess.run(["rm", "-rf", str(target)], check=True)
        self.settle()


def run(only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
    """Take the measures named; see :mod:`benchmarks.__main__`."""
    with _place() as place:
        # space first: what is deleted is freed later, in the background
        records = [_space(place, console)] if SPACE in only else []
        records += _times(place, only, rounds or ROUNDS, console)
        if SPARSE in only:
            records.append(_sparse(place, rounds or ROUNDS, console))
    return records


@contextmanager
def _place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        directory = Path(name)
        store = Store(directory / "state")
        settings, ledger = Settings(store), Ledger(store)
        initialise(PoolChoice(directory / "pool", image=directory / "pool.img", size=_POOL), settings, ledger)
        try:
            yield Place(open_pool(settings, ledger), Presentations(directory / "presentations"))
        finally:
            devices.unmount(directory / "pool")
            store.close()


def _times(place: Place, only: Sequence[str], rounds: int, console: Console) -> list[Record]:
    wanted = [measure for measure in FILES if measure in only or FLAT in only]
    contestants: dict[tuple[str, str], Callable[[], float]] = {}
    for measure in wanted:
        origin = _snapshot_of(place, measure, FILES[measure], console)
        contestants[measure, OURS] = partial(place.presented, origin)
        if measure in only:
            snapshot = (devices.program("btrfs") or "btrfs", "subvolume", "snapshot")
            contestants[measure, SNAPSHOT] = partial(place.by_peer, snapshot, origin)
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in contestants}
    place.settle()
    for key, contestant in contestants.items():
        contestant()  # the first has to read what the others find in memory
        console.print(f"{key[0]}: {key[1]} warmed up", highlight=False)
    for number in range(rounds):
        console.print(f"round {number + 1}", highlight=False)
        # whoever comes first in a round comes last in the next
        keys = list(contestants)
        for key in keys if number % 2 == 0 else reversed(keys):
            taken[key].append(contestants[key]())
            place.settle()
    for measure in wanted:
        if measure in only and FILES[measure] <= _MOST_COPIED:
            console.print(f"{measure}: {COPY}", highlight=False)
            copying = ("cp", "--archive", "--reflink=always")
            taken[measure, COPY] = [place.by_peer(copying, f"{measure}-snapshot")]
    records = [
        judge(
            measure=measure,
            title=f"clone of {FILES[measure]:,} files, owned by another user",
            unit="ms",
            ours=OURS,
            rounds={name: values for (of, name), values in taken.items() if of == measure},
            targets=(Target("at most", 100, kind="value"),),
            failures={},
        )
        for measure in wanted
        if measure in only
    ]
    if FLAT in only:
        records.append(_flat([taken[measure, OURS] for measure in FILES]))
    return records


def _flat(taken: Sequence[Sequence[float]]) -> Record:
    """How much slower the slowest of the three is, round by round."""
    return judge(
        measure=FLAT,
        title="the slowest of the three against the fastest",
        unit="×",
        ours=OURS,
        rounds={OURS: [max(each) / min(each) for each in zip(*map(sorted, taken), strict=True)]},
        targets=(Target("at most", 1.2, kind="value"),),
        failures={},
    )


def _space(place: Place, console: Console) -> Record:
    console.print(f"{SPACE}: {_MANY} clones", highlight=False)
    origin = _snapshot_of(place, "clone-1k", FILES["clone-1k"], console)
    before = place.used()
    names = [f"clone-{number}" for number in range(_MANY)]
    for name in names:
        place.pool.clone(origin, name)
    each = (place.used() - before) / _MANY / 1024
    for name in names:
        place.pool.delete(name)
    place.settle()
    return judge(
        measure=SPACE,
        title="space of a fresh clone",
        unit="KiB",
        ours=OURS,
        rounds={OURS: [each]},
        targets=(Target("at most", 64, kind="value"),),
        failures={},
    )


def _sparse(place: Place, rounds: int, console: Console) -> Record:
    console.print(SPARSE, highlight=False)
    place.pool.create("sparse")
    with (place.pool.path("sparse") / "file").open("wb") as file:
        file.truncate(_SPARSE)
    place.pool.snapshot("sparse", "sparse-snapshot")
    place.settle()
    return judge(
        measure=SPARSE,
        title="clone of a sparse file of 1 TiB, owned by another user",
        unit="ms",
        ours=OURS,
        rounds={OURS: [place.presented("sparse-snapshot") for _ in range(rounds)]},
        targets=(Target("at most", 2000, kind="value"),),
        failures={},
    )


def _snapshot_of(place: Place, name: str, files: int, console: Console) -> str:
    """A snapshot of a data set with so many small files; made once."""
    snapshot = f"{name}-snapshot"
    if snapshot not in {volume.name for volume in place.pool.volumes()}:
        console.print(f"making {files:,} files", highlight=False)
        place.pool.create(name)
        content = b"x" * 100
        for number in range(files):
            if number % 1000 == 0:
                directory = place.pool.path(name) / f"{number // 1000:04}"
                directory.mkdir()
                parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            file = os.open(f"{number % 1000:03}", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=parent)
            os.write(file, content)
            os.close(file)
            if number % 1000 == 999:
                os.close(parent)
        place.pool.snapshot(name, snapshot)
    return snapshot
