"""Which points of the kill sweep are done, on disk, so that it goes on after an interruption.

A journal belongs to one version of the code under test: with another one the sweep begins again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import dlpx_remote.jobs
import dlpx_remote.mounts
import dlpx_remote.operations
import dlpx_remote.storage
import dlpx_remote.store
import dlpx_remote.workflows
import tests.hosts.lifecycle
from tests.hosts.faults.journal import RecordFile
from tests.hosts.lifecycle.victims import Step

UNDER_TEST: tuple[ModuleType, ...] = (
    dlpx_remote.jobs,
    dlpx_remote.mounts,
    dlpx_remote.operations,
    dlpx_remote.storage,
    dlpx_remote.store,
    dlpx_remote.workflows,
    tests.hosts.lifecycle,
)


@dataclass(frozen=True)
class Point:
    """Where a process dies.

    Attributes:
        pool: kind of the pool.
        operation: by its name in the table.
        number: of the step, from 1.
        point: of the step.
    """

    pool: str
    operation: str
    number: int
    point: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.operation}/{self.number}/{self.point}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """What :meth:`__str__` gave."""
        pool, operation, number, point = text.split("/")
        return cls(pool, operation, int(number), point)


@dataclass(frozen=True)
class Played:
    """What became of a point: seconds until the next process was done, and what did not hold."""

    point: Point
    seconds: float
    broken: str = ""


class KillJournal:
    """Points done, one JSON document a line after a first one with the steps of every operation.

    Args:
        path: the file; made when it is not there.

    Attributes:
        steps: by operation; empty while the journal is new, or one of other code.
        done: what is known already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = RecordFile(path, UNDER_TEST)
        self.steps: dict[str, list[Step]] = {}
        self.done: dict[Point, Played] = {}
        for number, record in enumerate(self._file.read()):
            if number == 0:
                self.steps = {name: [Step(*step) for step in each] for name, each in record["steps"].items()}
                continue
            point = Point.parse(record["point"])
            self.done[point] = Played(point, record["seconds"], record["broken"])

    def begin(self, steps: Mapping[str, Sequence[Step]]) -> None:
        """Begin anew; a journal that was there is put aside."""
        self.steps, self.done = {name: list(each) for name, each in steps.items()}, {}
        listed = {name: [[step.title, step.undoing] for step in each] for name, each in steps.items()}
        self._file.begin({"steps": listed})

    def add(self, played: Played) -> None:
        """Write down what became of a point."""
        self.done[played.point] = played
        self._file.add(
            {"point": str(played.point), "seconds": round(played.seconds, 2), "broken": played.broken}
        )
