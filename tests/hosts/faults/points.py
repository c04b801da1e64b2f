"""What a sweep tries: points, each one fault at one byte of one phase of a conversation. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.hosts.faults.proxy import Direction, Kind

Phase = Literal["connect", "run-first", "run-later", "transfer", "close"]
"""``connect``: until the login is complete. ``run-first``: a connection's first command, with all that it
asks about the account. ``run-later``, ``transfer`` (there and back), ``close``: on one that has run some."""

PHASES: tuple[Phase, ...] = get_args(Phase)
KINDS: tuple[Kind, ...] = get_args(Kind)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

EVERY_BYTE_UNTIL = 4096
THEN_EVERY = 97

Lengths = dict[tuple[Phase, Direction], int]
"""Bytes of each phase and direction in a conversation without a fault."""


@dataclass(frozen=True, order=True)
class Point:
    """One fault at one byte, counted from where the phase begins."""

    phase: Phase
    kind: Kind
    direction: Direction
    offset: int

    def __str__(self) -> str:
        return f"{self.phase}/{self.kind}/{self.direction}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """The point that ``str`` wrote."""
        phase, kind, direction, offset = text.split("/")
        return cls(phase, kind, direction, int(offset))  # type: ignore[arg-type]


@dataclass
class Outcome:
    """What became of one point.

    Attributes:
        point: None for a conversation without a fault, and for what some points of many have left.
        said: by step, ``success`` or the error's class.
        struck: False when the conversation was over before the fault's byte.
        broken: every promise that was broken, in words.
    """

    point: Point | None
    said: dict[str, str] = field(default_factory=dict)
    struck: bool = False
    broken: list[str] = field(default_factory=list)

    @property
    def ending(self) -> str:
        """In one line."""
        if not self.struck:
            return "over before the fault"
        failed = [f"{step}: {said}" for step, said in self.said.items() if said != "success"]
        return ", ".join(failed) or "nothing lost"


def all_points(lengths: Lengths) -> list[Point]:
    """Every kind at every byte of each phase's first 4 KiB and then every 97th byte, in both directions."""
    return [
        Point(phase, kind, direction, offset)
        for (phase, direction), length in lengths.items()
        for offset in [
            *range(min(max(length, 1), EVERY_BYTE_UNTIL)),
            *range(EVERY_BYTE_UNTIL, length, THEN_EVERY),
        ]
        for kind in KINDS
    ]


def sample(points: Iterable[Point], count: int, seed: int) -> list[Point]:
    """About ``count`` points, as many of each phase, kind and direction as of any other."""
    groups: dict[tuple[Phase, Kind, Direction], list[Point]] = {}
    for point in points:
        groups.setdefault((point.phase, point.kind, point.direction), []).append(point)
    chance = random.Random(seed)
    share = max(1, round(count / len(groups)))
    return [point for group in groups.values() for point in chance.sample(group, min(share, len(group)))]


def mixed(points: Iterable[Point], seed: int) -> list[Point]:
    """In an order in which any stretch is like the whole: what waits and what computes go side by side."""
    order = list(points)
    random.Random(seed).shuffle(order)
    return order


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Lines that say how often each phase and kind ended how."""
    counts = Counter(
        (outcome.point.phase, outcome.point.kind, outcome.ending) for outcome in outcomes if outcome.point
    )
    for (phase, kind, ending), count in sorted(counts.items()):
        yield f"{phase:9} {kind:8} {count:6} {ending}"
