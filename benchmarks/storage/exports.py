"""Exports added to a running NFS-Ganesha, with few and with many present; each of a clone that is presented.

Ours writes the export's file to the disk and tells the server over its message bus; the time is until the
server has answered, that is, until a host could mount.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmarks.records import Record, Target, judge
from dlpx_remote.demo.loopback import free_port
from dlpx_remote.mounts.base import Export, Owner
from dlpx_remote.mounts.ganesha import GaneshaExporter
from dlpx_remote.mounts.ganesha_server import GaneshaServer
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.storage import devices
from dlpx_remote.storage.initialise import PoolChoice, initialise, open_pool
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Ledger, Settings, Store

ROUNDS = 20
PRESENT = {"export-1": 1, "export-100": 100, "export-1k": 1000}
FLAT = "export-flat"
MEASURES = [*PRESENT, FLAT]

_POOL = 2 * 1024**3
_LOOPBACK = "127.0.0.1"


@dataclass
class _Place:
    """Clones that are presented, and a server."""

    pool: Pool
    presentations: Presentations
    exporter: GaneshaExporter
    made: list[str] = field(default_factory=list)

    def add(self) -> float:
        """One more clone is exported; milliseconds of the export alone."""
        name = f"clone-{len(self.made)}"
        clone = self.pool.clone("snapshot", name)
        self.made.append(name)
        shown = self.presentations.present(name, clone.path, Owner(12345, 12345))
        began = time.perf_counter()
        self.exporter.add(Export(name, shown.directory, (_LOOPBACK,)))
        return (time.perf_counter() - began) * 1000

    def clear(self) -> None:
        for name in self.made:
            self.exporter.remove(name)
            self.presentations.withdraw(name)


def run(only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
    """Take the measures named; see :mod:`benchmarks.__main__`."""
    taken: dict[str, list[float]] = {}
    with _place() as place:
        for measure, present in PRESENT.items():
            if measure not in only and FLAT not in only:
                continue
            console.print(f"{measure}: {present} present", highlight=False)
            while len(place.made) < present:
                place.add()
            taken[measure] = [place.add() for _ in range(rounds or ROUNDS)]
    records = [
        judge(
            measure=measure,
            title=f"export added, with {PRESENT[measure]:,} present",
            unit="ms",
            ours="engine",
            rounds={"engine": taken[measure]},
            targets=(Target("at most", 10, kind="value"),),
            failures={},
        )
        for measure in PRESENT
        if measure in only
    ]
    if FLAT in only:
        each = [max(times) / min(times) for times in zip(*map(sorted, taken.values()), strict=True)]
        records.append(
            judge(
                measure=FLAT,
                title="the slowest of the three against the fastest",
                unit="×",
                ours="engine",
                rounds={"engine": each},
                targets=(Target("at most", 1.2, kind="value"),),
                failures={},
            )
        )
    return records


@contextmanager
def _place() -> Iterator[_Place]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        store = Store(directory / "state")
        stack.callback(store.close)
        settings, ledger = Settings(store), Ledger(store)
        initialise(PoolChoice(directory / "pool", image=directory / "pool.img", size=_POOL), settings, ledger)
        stack.callback(devices.unmount, directory / "pool")
        pool = open_pool(settings, ledger)
        pool.create("data")
        pool.snapshot("data", "snapshot")
        server = GaneshaServer(directory / "nfs", address=_LOOPBACK, port=free_port(_LOOPBACK))
        stack.callback(server.stop)
        exporter = GaneshaExporter(server)
        stack.callback(exporter.close)
        place = _Place(pool, Presentations(directory / "present"), exporter)
        stack.callback(place.clear)
        yield place
