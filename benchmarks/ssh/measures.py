"""What is measured over SSH, by whom, and what must come out: the whole list in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.records import Target
from dlpx_remote.transports.base import Deadlines

ROUND_TRIP = 0.05
"""Seconds of the long way."""

START_UP = 0.1
"""Seconds that the slow account's start-up files take."""

FLEET = 500
"""Hosts."""

REACHABLE = 95
"""Hosts of the hundred that answer; five do not, each in its own way."""

BULK = 200_000_000
"""Bytes of the big file."""

IN_FLIGHT = 300
"""Commands, ten at once."""

IDLE_SECONDS = 20.0

Place = Literal["plain", "far", "slow", "fleet", "hundred"]


@dataclass(frozen=True)
class Measure:
    """One number of a trial.

    Attributes:
        name: what ``--only`` takes.
        title: what was done, for people.
        unit: of the number.
        value: which entry of the contestant's answer.
        convert: from that entry to the unit.
        targets: what must hold.
    """

    name: str
    title: str
    unit: str
    convert: Callable[[float], float]
    targets: Sequence[Target] = ()
    value: str = "seconds"


@dataclass(frozen=True)
class Trial:
    """One thing that every contestant does in turn, round after round.

    Attributes:
        ask: the measure that a peer takes and its arguments, without the place.
        place: which host, or all of them.
        contestants: the first is us.
        rounds: how many, unless the person says otherwise.
        measures: the numbers that come of it.
        fresh: a new process for every round, for memory.
        limit: seconds that one answer may take.
        arguments: more of them, known only when the trial runs, by name of the entry in the run's paths.
    """

    ask: Mapping[str, Any]
    place: Place
    contestants: Sequence[str]
    rounds: int
    measures: Sequence[Measure]
    fresh: bool = False
    limit: float = 180.0
    arguments: Mapping[str, str] = field(default_factory=dict)


def _milliseconds(seconds: float) -> float:
    return seconds * 1000


def _rate(amount: float) -> Callable[[float], float]:
    return lambda seconds: amount / seconds


_PEERS = ("asyncssh", "paramiko", "parallel-ssh", "fabric", "pyinfra", "openssh")
_WITH_FLEETS = ("transport", "asyncssh", "paramiko", "parallel-ssh", "pyinfra")
_BULK = ("transport", "openssh", "asyncssh", "paramiko")
_MEGABYTES = _rate(BULK / 1e6)

TRIALS: Sequence[Trial] = (
    Trial(
        ask={"measure": "sequential", "commands": 50, "warm_up": 5},
        place="plain",
        contestants=("engine", *_PEERS),
        rounds=5,
        measures=(
            Measure(
                "warm",
                "one `true` after another, warm, through the engine",
                "ms",
                _milliseconds,
                (Target("at most", 0.7, "asyncssh"), Target("at most", 0.1, "fabric")),
            ),
        ),
    ),
    Trial(
        ask={"measure": "sequential", "commands": 50, "warm_up": 5},
        place="plain",
        contestants=("plugin", "engine", "transport"),
        rounds=5,
        measures=(
            Measure(
                "plugin",
                "the same, called by plugin code in its worker",
                "ms",
                _milliseconds,
                (Target("at most", 0.5, "engine", "difference"),),
            ),
        ),
    ),
    Trial(
        ask={"measure": "sequential", "commands": 10, "warm_up": 2},
        place="far",
        contestants=("engine", *_PEERS),
        rounds=3,
        measures=(
            Measure(
                "far",
                "the same, 50 ms round-trip time",
                "round trips",
                lambda seconds: seconds / ROUND_TRIP,
                (Target("at most", 1.15, kind="value"),),
            ),
        ),
    ),
    Trial(
        ask={"measure": "first_result", "times": 10},
        place="plain",
        contestants=("transport", *_PEERS),
        rounds=5,
        measures=(
            Measure(
                "connect",
                "connect to first result",
                "ms",
                _milliseconds,
                (Target("at most", 0.7, "asyncssh"),),
            ),
        ),
    ),
    Trial(
        ask={"measure": "in_flight", "commands": IN_FLIGHT, "width": 10},
        place="plain",
        contestants=("transport", *_PEERS),
        rounds=5,
        measures=(
            Measure(
                "in-flight",
                "10 in flight on one connection",
                "commands/s",
                _rate(IN_FLIGHT),
                (Target("at least", 1.2, "asyncssh"),),
            ),
        ),
    ),
    Trial(
        ask={"measure": "fleet"},
        place="fleet",
        contestants=_WITH_FLEETS,
        rounds=3,
        fresh=True,
        limit=300.0,
        measures=(
            Measure(
                "fleet",
                f"{FLEET} hosts, connect and one command each",
                "s",
                lambda seconds: seconds,
                (Target("at most", 0.8, "asyncssh"), Target("at most", 0.5, "pyinfra")),
            ),
            Measure(
                "fleet-memory",
                "memory a host, all connected",
                "MB",
                lambda size: size / 1e6,
                (Target("at most", 1.0, kind="value"),),
                value="bytes",
            ),
        ),
    ),
    Trial(
        ask={"measure": "idle", "seconds": IDLE_SECONDS},
        place="fleet",
        contestants=_WITH_FLEETS,
        rounds=1,
        fresh=True,
        limit=300.0,
        measures=(
            Measure(
                "idle",
                f"{FLEET} idle connections",
                "% of a core",
                lambda share: share * 100,
                (Target("at most", 0.5, kind="value"),),
                value="share",
            ),
        ),
    ),
    Trial(
        ask={"measure": "discovery"},
        place="hundred",
        contestants=("engine",),
        rounds=3,
        fresh=True,
        measures=(
            Measure(
                "discover",
                "discover on 100 hosts, five of them dead",
                "s",
                lambda seconds: seconds,
                (Target("at most", Deadlines.connect * 1.1, kind="value"),),
            ),
        ),
    ),
    Trial(
        ask={"measure": "stdout", "size": BULK},
        arguments={"source": "file"},
        place="plain",
        contestants=_BULK,
        rounds=5,
        measures=(
            Measure("stdout", "200 MB of stdout", "MB/s", _MEGABYTES, (Target("at least", 0.9, "openssh"),)),
        ),
    ),
    Trial(
        ask={"measure": "put"},
        arguments={"source": "file", "destination": "copy"},
        place="plain",
        contestants=_BULK,
        rounds=5,
        measures=(Measure("up", "200 MB up", "MB/s", _MEGABYTES, (Target("at least", 0.9, "openssh"),)),),
    ),
    Trial(
        ask={"measure": "get"},
        arguments={"source": "file", "destination": "copy"},
        place="plain",
        contestants=_BULK,
        rounds=5,
        measures=(Measure("down", "200 MB down", "MB/s", _MEGABYTES, (Target("at least", 0.9, "openssh"),)),),
    ),
    Trial(
        ask={"measure": "sequential", "commands": 10, "warm_up": 2},
        place="slow",
        contestants=("engine", *_PEERS),
        rounds=1,
        measures=(
            Measure(
                "start-up",
                "start-up files of 100 ms: a warm command",
                "ms",
                _milliseconds,
                (Target("at most", START_UP * 1000 / 2, kind="value"),),
            ),
        ),
    ),
    Trial(
        ask={"measure": "first_result", "times": 5},
        place="slow",
        contestants=("transport", *_PEERS),
        rounds=1,
        measures=(
            Measure(
                "start-up-connect",
                "start-up files of 100 ms: connect to first result",
                "ms",
                _milliseconds,
                (Target("at most", START_UP * 1000 * 1.9, kind="value"),),
            ),
        ),
    ),
)
