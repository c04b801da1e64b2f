"""What a benchmark says: medians, ratios, targets, and the table or JSON made of them.

This module knows numbers and words only. It does not know what was measured, or how.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

Kind = Literal["ratio", "difference", "value"]
Direction = Literal["at most", "at least"]

_SIGN = {"at most": "≤", "at least": "≥"}


@dataclass(frozen=True)
class Target:
    """What must hold for one measure.

    Attributes:
        direction: whether the bound is the highest or the lowest that is allowed.
        bound: a factor for ``ratio``, otherwise in the unit of the measure.
        peer: whom we are compared with; empty for ``value``.
        kind: ``ratio`` is ours ÷ peer's, ``difference`` ours − peer's, ``value`` ours alone.
    """

    direction: Direction
    bound: float
    peer: str = ""
    kind: Kind = "ratio"

    def text(self, unit: str) -> str:
        """The target as a person would write it."""
        sign = _SIGN[self.direction]
        if self.kind == "ratio":
            return f"{sign} {self.bound:g} × {self.peer}"
        if self.kind == "difference":
            return f"{sign} {self.peer} + {self.bound:g} {unit}"
        return f"{sign} {self.bound:g} {unit}"

    def met(self, ours: float | None, theirs: float | None) -> bool:
        """Whether it holds. A number that is missing, ours or the peer's, is a miss."""
        if ours is None or (self.kind != "value" and theirs is None):
            return False
        if self.kind == "ratio":
            ratio = ratio_of(ours, theirs)
            if ratio is None:
                return False
            figure = ratio
        elif self.kind == "difference":
            figure = ours - (theirs or 0.0)
        else:
            figure = ours
        return figure <= self.bound if self.direction == "at most" else figure >= self.bound


@dataclass(frozen=True)
class Record:
    """One measure, finished.

    Attributes:
        measure: its short name, as ``--only`` takes it.
        title: what was done.
        unit: of every number here.
        ours: our median over the rounds, None where we failed.
        peers: each peer's median, None where it failed.
        ratio: ours ÷ peer's by peer, None where one of the two is missing.
        target: the targets, as text.
        ok: whether all of them are met; None where the measure has none.
        missed: those that are not met, as text.
        failures: what went wrong, by name of the contestant.
        rounds: every round's number by contestant, in the order they were taken.
    """

    measure: str
    title: str
    unit: str
    ours: float | None
    peers: Mapping[str, float | None]
    ratio: Mapping[str, float | None]
    target: Sequence[str]
    ok: bool | None
    missed: Sequence[str] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    rounds: Mapping[str, Sequence[float]] = field(default_factory=dict)


def ratio_of(ours: float | None, theirs: float | None) -> float | None:
    """Ours ÷ theirs; None where a number is missing or theirs is nothing."""
    if ours is None or not theirs:
        return None
    return ours / theirs


def median(values: Sequence[float]) -> float | None:
    """The median, None of nothing."""
    return statistics.median(values) if values else None


def judge(
    *,
    measure: str,
    title: str,
    unit: str,
    ours: str,
    rounds: Mapping[str, Sequence[float]],
    targets: Sequence[Target],
    failures: Mapping[str, str],
) -> Record:
    """Make a record of the rounds.

    Args:
        measure, title, unit: of the measure.
        ours: the contestant that is us; all others are peers.
        rounds: every round's number by contestant. One that failed in any round counts as failed, even when
            other rounds went well: half a measurement compares with nothing.
        targets: what must hold.
        failures: what went wrong, by contestant.
    """
    medians = {name: None if name in failures else median(values) for name, values in rounds.items()}
    mine = medians.get(ours)
    peers = {name: value for name, value in medians.items() if name != ours}
    missed = [target.text(unit) for target in targets if not target.met(mine, peers.get(target.peer))]
    return Record(
        measure=measure,
        title=title,
        unit=unit,
        ours=mine,
        peers=peers,
        ratio={name: ratio_of(mine, value) for name, value in peers.items()},
        target=[target.text(unit) for target in targets],
        ok=not missed if targets else None,
        missed=missed,
        failures=dict(failures),
        rounds={name: list(values) for name, values in rounds.items()},
    )


def all_met(records: Iterable[Record]) -> bool:
    """Whether no record misses a target."""
    return all(record.ok is not False for record in records)


def as_json(records: Iterable[Record]) -> str:
    """A list of records, for programs."""
    rows: list[dict[str, Any]] = [
        {
            "measure": record.measure,
            "title": record.title,
            "unit": record.unit,
            "ours": record.ours,
            "peers": dict(record.peers),
            "ratio": dict(record.ratio),
            "target": list(record.target),
            "ok": record.ok,
            "missed": list(record.missed),
            "failures": dict(record.failures),
            "rounds": {name: list(values) for name, values in record.rounds.items()},
        }
        for record in records
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def number(value: float | None) -> str:
    """Three significant digits; ``failed`` where there is no number."""
    if value is None:
        return "failed"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def as_table(records: Iterable[Record]) -> Table:
    """One line a measure and peer, for people."""
    table = Table("measure", "unit", box=None, pad_edge=False)
    for heading in ("ours", "theirs", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("peer", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("ok", no_wrap=True)
    for record in records:
        first = [record.title, record.unit, number(record.ours)]
        left = list(record.target)
        for peer, theirs in record.peers.items():
            mine = [text for text in record.target if text.endswith(f"× {peer}") or f" {peer} + " in text]
            for text in mine:
                left.remove(text)
            ratio = record.ratio[peer]
            row = [number(theirs), "" if ratio is None else f"{ratio:.2f}", peer]
            table.add_row(*first, *row, ", ".join(mine), _verdict(record, mine))
            first = ["", "", ""]
        if left or not record.peers:
            table.add_row(*first, "", "", "", ", ".join(left), _verdict(record, left))
    return table


def _verdict(record: Record, targets: Sequence[str]) -> str:
    if not targets:
        return ""
    return "no" if any(target in record.missed for target in targets) else "yes"


def write(records: Sequence[Record], console: Console, *, as_json_list: bool) -> None:
    """Print the records, and below the table what went wrong."""
    if as_json_list:
        console.file.write(as_json(records) + "\n")
        return
    console.print(as_table(records))
    for record in records:
        for name, failure in record.failures.items():
            console.print(f"{record.measure}: {name} failed: {failure}", markup=False, highlight=False)
