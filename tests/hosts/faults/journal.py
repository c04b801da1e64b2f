"""What a long sweep has done so far, on disk, so that it goes on after an interruption; and how fast it is.

A journal belongs to one version of the code under test: with another one the sweep begins again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import dlpx_remote.transports
import tests.hosts.faults
from tests.hosts.faults.points import Lengths, Outcome, Point

TRANSPORTS_AND_FAULTS = (dlpx_remote.transports, tests.hosts.faults)


class RecordFile:
    """One JSON document a line; the first says of which code the others are.

    Args:
        path: the file; made when it is not there.
        of: packages of which the code under test, and what tries it, consists.
    """

    def __init__(self, path: Path, of: Sequence[ModuleType]) -> None:
        self.path = path
        self._code = code_under_test(of)

    def begin(self, head: Mapping[str, object]) -> None:
        """Begin anew; a file that was there is put aside."""
        if self.path.exists():
            self.path.replace(self.path.with_name(f"{self.path.name}.before"))
        self.add({"code": self._code, **head})

    def add(self, record: Mapping[str, object]) -> None:
        """One line more."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """The first line and all others; nothing where they are of other code."""
        if not self.path.exists():
            return []
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]  # the last line may have been cut off
        if whole != text:
            self.path.write_text(whole)
        records = [json.loads(line) for line in whole.splitlines()]
        return records if records and records[0].get("code") == self._code else []


class Journal:
    """Points done, one JSON document a line after a first one that says what they are points of.

    Args:
        path: the file; made when it is not there.
        of: packages of which the code under test, and what tries it, consists.

    Attributes:
        lengths: of the conversation in which the points are counted; None while the journal is new.
        done: what is known already.
        unassigned: broken promises that are not known to be one point's.
    """

    def __init__(self, path: Path, of: Sequence[ModuleType] = TRANSPORTS_AND_FAULTS) -> None:
        self.path = path
        self._file = RecordFile(path, of)
        self.lengths: Lengths | None = None
        self.done: dict[Point, Outcome] = {}
        self.unassigned: list[Outcome] = []
        for number, record in enumerate(self._file.read()):
            if number == 0:
                self.lengths = {(phase, direction): length for phase, direction, length in record["lengths"]}
                continue
            point = Point.parse(record["point"]) if record["point"] else None
            self._note(Outcome(point, record["said"], record["struck"], record.get("broken", [])))

    @property
    def outcomes(self) -> list[Outcome]:
        """Everything that is known."""
        return [*self.done.values(), *self.unassigned]

    def begin(self, lengths: Lengths) -> None:
        """Begin anew; a journal that was there is put aside."""
        self.lengths, self.done, self.unassigned = lengths, {}, []
        counted = [[phase, direction, length] for (phase, direction), length in lengths.items()]
        self._file.begin({"lengths": counted})

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write down what became of points."""
        for outcome in outcomes:
            record = {
                "point": str(outcome.point) if outcome.point else None,
                "said": outcome.said,
                "struck": outcome.struck,
                **({"broken": outcome.broken} if outcome.broken else {}),
            }
            self._file.add(record)
            self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        if outcome.point:
            self.done[outcome.point] = outcome
        else:
            self.unassigned.append(outcome)


def code_under_test(of: Sequence[ModuleType] = TRANSPORTS_AND_FAULTS) -> str:
    """A digest of the packages' code."""
    digest = hashlib.sha256()
    for package in of:
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Progress:
    """Says now and then how far a sweep is.

    Args:
        total: points.
        already: of them done before.
        every: seconds from one line to the next.
    """

    def __init__(self, total: int, already: int, every: float = 30.0) -> None:
        self._total = total
        self._already = already
        self._every = every
        self._began = self._said = time.monotonic()

    def lines(self, done: int, broken: int) -> Iterator[str]:
        """A line when it is time for one.

        Args:
            done: points by now, those done before included.
            broken: points with a broken promise.
        """
        now = time.monotonic()
        if now - self._said < self._every:
            return
        self._said = now
        rate = (done - self._already) / (now - self._began)
        left = (self._total - done) / rate / 60 if rate else float("inf")
        yield f"{done} of {self._total} points, {rate:.1f} a second, {left:.0f} min left, {broken} broken"
