"""The life-cycle benchmark: what jobs and plugin operations cost beyond the work that they do.

A measure is a function that takes one round; :data:`TRIALS` lists them with their targets. A new measure is
one entry there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks.lifecycle.databases import LARGE, SMALL, database
from benchmarks.lifecycle.overhead import empty_operation, journaled_step
from benchmarks.records import Record, Target, judge

OURS = "engine"
COPY = "cp -a and start"
ROUNDS = 5

Round = Callable[[], dict[str, float]]
"""Takes one round: a number for each contestant, ours under :data:`OURS`."""


@dataclass(frozen=True)
class Trial:
    """One measure.

    Attributes:
        name: short, for ``--only``.
        title: what is done.
        unit: of its numbers.
        take: takes one round.
        targets: what must hold.
        rounds: how often unless told otherwise.
    """

    name: str
    title: str
    unit: str
    take: Round
    targets: tuple[Target, ...]
    rounds: int = ROUNDS


TRIALS = (
    Trial(
        "operation",
        "an empty plugin operation in a fresh worker",
        "ms",
        lambda: {OURS: empty_operation()},
        (Target("at most", 10, kind="value"),),
    ),
    Trial(
        "provision",
        f"provision PostgreSQL of {LARGE:g} GiB until it answers",
        "s",
        lambda: {OURS: database(LARGE).provision(), COPY: database(LARGE).copy()},
        (Target("at most", 0.1, COPY),),
        rounds=3,
    ),
    Trial(
        "provision-sizes",
        f"provision {LARGE:g} GiB beside {SMALL:g} GiB",
        "s",
        lambda: {OURS: database(LARGE).provision(), f"{SMALL:g} GiB": database(SMALL).provision()},
        (Target("at most", 1.2, f"{SMALL:g} GiB"),),
        rounds=3,
    ),
    Trial(
        "step",
        "journaling a step of a job, SQLite",
        "ms",
        lambda: {OURS: journaled_step()},
        (Target("at most", 5, kind="value"),),
    ),
)
MEASURES = [trial.name for trial in TRIALS]


def run(only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
    """Take the measures named (all when none); see :mod:`benchmarks.__main__`."""
    return [_judge(trial, rounds, console) for trial in TRIALS if not only or trial.name in only]


def _judge(trial: Trial, rounds: int | None, console: Console) -> Record:
    values: dict[str, list[float]] = {}
    for number in range(rounds or trial.rounds):
        console.print(f"{trial.name}: round {number + 1}", highlight=False)
        for contestant, value in trial.take().items():
            values.setdefault(contestant, []).append(value)
    return judge(
        measure=trial.name,
        title=trial.title,
        unit=trial.unit,
        ours=OURS,
        rounds=values,
        targets=trial.targets,
        failures={},
    )
