"""A sweep of faults over a conversation: connect, run, transfer, close; and what must hold at every point.

A point is one fault at one byte of one phase. Playing it leaves traces (a witness file that the script
appends to, a file that is copied), and judging it compares what the transport claimed with what they show.
Claims are judged only after everything on the host has ended, so that a script that runs late is noticed.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from dlpx_remote.transports import base
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CommandResult,
    CommandTimeout,
    ConnectFailed,
    Deadlines,
    HostKeyError,
    NotSent,
    OutcomeUnknown,
    TransferFailed,
    TransportError,
)
from dlpx_remote.transports.ssh import SshConnection, SshTarget, connect
from tests.hosts.faults.leftovers import session_processes, wait_until_empty
from tests.hosts.faults.proxy import Direction, Fault, Kind, Proxy
from tests.hosts.sshd import Sshd

Phase = Literal["connect", "run", "transfer", "close"]
PHASES: tuple[Phase, ...] = get_args(Phase)
KINDS: tuple[Kind, ...] = get_args(Kind)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

EVERY_BYTE_UNTIL = 4096
THEN_EVERY = 97

DEADLINE = 2.0
"""Seconds for connecting, for the command, and without a byte."""

ENDING = 10.0
"""Seconds beyond the deadline that ending a command on the host may take before we call it a hang."""

SLOW = 8.0
"""On a slow machine the deadline is so many times what a whole conversation without a fault takes alone."""

AT_ONCE = 16
_FILE = random.Random(0).randbytes(1500)
_OLD = b"what was there before"
_WITNESSED = "begin\nend\n"


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
        said: by step, ``success`` or the error's class.
        struck: False when the conversation was over before the fault's byte.
        broken: every promise that was broken, in words.
    """

    point: Point | None
    place: Path
    said: dict[str, str] = field(default_factory=dict)
    struck: bool = False
    broken: list[str] = field(default_factory=list)


Lengths = dict[tuple[Phase, Direction], int]


class Stage:
    """Where points are played: one server, one directory.

    Args:
        server: running; must allow as many sessions and logins at once as points are played.
        directory: for witnesses and copied files.
    """

    def __init__(self, server: Sshd, directory: Path) -> None:
        self.server = server
        self._directory = directory
        self._fingerprint = server.fingerprint()
        self._ssh_config = directory / "ssh_config"
        self._ssh_config.touch()
        self._source = directory / "source"
        self._source.write_bytes(_FILE)
        self._numbers = itertools.count(1)
        self._deadline = 30.0

    def lengths(self) -> Lengths:
        """Bytes of each phase and direction in a conversation without a fault; its pace sets the deadline."""
        found: Lengths = {}
        outcome = self._outcome(None)
        began = time.monotonic()
        with self._proxy() as proxy:
            before = dict.fromkeys(DIRECTIONS, 0)

            def note(phase: Phase) -> None:
                time.sleep(0.2)  # for what still comes unasked
                for direction, passed in proxy.links[0].passed.items():
                    found[phase, direction] = passed - before[direction]
                    before[direction] = passed

            connection = self._connect(proxy)
            note("connect")
            self._run(connection, outcome)
            note("run")
            self._put(connection, outcome)
            self._get(connection, outcome)
            note("transfer")
            connection.close()
            note("close")
        self._deadline = max(DEADLINE, SLOW * (time.monotonic() - began - 0.2 * len(PHASES)))
        return found

    def play(self, point: Point | None) -> Outcome:
        """One conversation with one fault; None for one without."""
        outcome = self._outcome(point)
        fault = Fault(point.kind, point.direction, point.offset) if point else None
        phase = point.phase if point else "close"
        with self._proxy() as proxy:
            if phase == "connect" and fault:
                proxy.arm(fault)
            connection = self._step(outcome, "connect", lambda: self._connect(proxy))
            if connection is not None:
                try:
                    if phase == "run" and fault:
                        proxy.links[0].arm(fault)
                    if phase != "transfer":
                        self._step(outcome, "run", lambda: self._run(connection, outcome))
                    if phase == "transfer" and fault:
                        proxy.links[0].arm(fault)
                    if phase == "transfer" or fault is None:
                        self._step(outcome, "put", lambda: self._put(connection, outcome))
                        self._step(outcome, "get", lambda: self._get(connection, outcome))
                    if phase == "close" and fault:
                        proxy.links[0].arm(fault)
                finally:
                    self._step(outcome, "close", connection.close)
            outcome.struck = bool(proxy.links) and proxy.links[0].struck is not None
            self._step(outcome, "next", lambda: self._next(proxy))
        return outcome

    def judge(self, outcome: Outcome) -> None:
        """Compare what was claimed with what is there; call it once nothing runs on the host any more."""
        witness = (outcome.place / "witness").read_text()
        said = outcome.said.get("run")
        allowed = {"", "begin\n", _WITNESSED}
        if said == "success":
            allowed = {_WITNESSED}
        elif said is None or said in _NOT_SENT:
            allowed = {""}
        if witness not in allowed:
            outcome.broken.append(f"run said {said}, but the script left {witness!r}")
        for step, expected in (("put", "there"), ("get", "here")):
            content = (outcome.place / expected).read_bytes()
            said = outcome.said.get(step)
            contents = {"success": {_FILE}, "TransferFailed": {_OLD}, None: {_OLD}}.get(said, {_OLD, _FILE})
            if content not in contents:
                what = {_FILE: "new", _OLD: "old"}.get(content, f"neither old nor new ({len(content)} bytes)")
                outcome.broken.append(f"{step} said {said}, but the file is {what}")
        if left := {path.name for path in outcome.place.iterdir()} - {"witness", "there", "here"}:
            outcome.broken.append(f"left behind: {', '.join(sorted(left))}")
        if outcome.said.get("next") != "success":
            outcome.broken.append(f"the next command on a new connection: {outcome.said.get('next')}")
        if not outcome.struck and set(outcome.said.values()) != {"success"}:
            outcome.broken.append(f"nothing was done to it, but: {outcome.said}")

    def _proxy(self) -> Proxy:
        return Proxy(self.server.address, self.server.port)

    def _outcome(self, point: Point | None) -> Outcome:
        place = self._directory / f"point-{next(self._numbers)}"
        place.mkdir()
        (place / "witness").touch()
        (place / "there").write_bytes(_OLD)
        (place / "here").write_bytes(_OLD)
        return Outcome(point, place)

    def _step(
        self,
        outcome: Outcome,
        name: str,
        action: Callable[[], SshConnection | None],
    ) -> SshConnection | None:
        began = time.monotonic()
        made = None
        try:
            made = action()
            outcome.said[name] = "success"
        except TransportError as error:
            outcome.said[name] = type(error).__name__
            if not isinstance(error, _HONEST[name]) or isinstance(error, _DISHONEST):
                outcome.broken.append(f"{name} said {type(error).__name__}: {error}")
        except Exception as error:
            outcome.said[name] = type(error).__name__
            outcome.broken.append(f"{name} let a foreign error out: {error!r}")
        took = time.monotonic() - began
        ending = ENDING * self._deadline / DEADLINE
        if name != "next" and took > self._deadline + ending:
            outcome.broken.append(f"{name} hung for {took:.1f} s with a deadline of {self._deadline:g} s")
        return made

    def _connect(self, proxy: Proxy, seconds: float | None = None) -> SshConnection:
        seconds = seconds or self._deadline
        target = SshTarget(
            host="127.0.0.1",
            port=proxy.port,
            user=self.server.user,
            key=str(self.server.user_key),
            fingerprint=self._fingerprint,
            ssh_config=self._ssh_config,
            default_keys=False,
        )
        return connect(target, deadlines=Deadlines(connect=seconds, idle=seconds, total=seconds))

    def _run(self, connection: SshConnection, outcome: Outcome) -> None:
        witness = outcome.place / "witness"
        script = (
            f"printf 'begin\\n' >>'{witness}'\n"
            "for ((i = 0; i < 50; i++)); do printf 'line %s of the output\\n' $i; done\n"
            'printf %s "$SAID" >&2\n'
            f"printf 'end\\n' >>'{witness}'\n"
        )
        result = connection.run(script, variables={"SAID": "on the other stream"})
        stdout = "".join(f"line {number} of the output\n" for number in range(50))
        _expect(result, outcome, stdout.encode(), b"on the other stream")

    def _put(self, connection: SshConnection, outcome: Outcome) -> None:
        connection.put(self._source, str(outcome.place / "there"))

    def _get(self, connection: SshConnection, outcome: Outcome) -> None:
        connection.get(str(self._source), outcome.place / "here")

    def _next(self, proxy: Proxy) -> None:
        with self._connect(proxy, 60.0) as connection:
            result = connection.run("printf 'the next'")
        if (result.exit_code, result.stdout) != (0, b"the next"):
            raise AssertionError(result)


_HONEST: dict[str, tuple[type[TransportError], ...]] = {
    "connect": (ConnectFailed,),
    "run": (NotSent, OutcomeUnknown, CommandTimeout),
    "put": (TransferFailed, OutcomeUnknown, NotSent),
    "get": (TransferFailed, NotSent),
    "close": (),
    "next": (),
}
# Nobody refused a login, and nobody showed another key.
_DISHONEST = (AuthenticationFailed, HostKeyError)
_NOT_SENT = {
    name for name, kind in vars(base).items() if isinstance(kind, type) and issubclass(kind, NotSent)
}


def _expect(result: CommandResult, outcome: Outcome, stdout: bytes, stderr: bytes) -> None:
    if result.exit_code != 0 or result.stdout != stdout or result.stderr != stderr:
        outcome.broken.append(f"run returned a result that the script did not give: {result}")


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


def play_all(stage: Stage, points: list[Point], at_once: int = AT_ONCE) -> list[Outcome]:
    """Play points side by side, wait until nothing of them runs on the host, and judge them."""
    with ThreadPoolExecutor(at_once, "point") as pool:
        outcomes = list(pool.map(stage.play, points))
    wait_until_empty(lambda: session_processes(stage.server))
    for outcome in outcomes:
        stage.judge(outcome)
    return outcomes


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Lines that say how often each phase and kind ended how."""
    counts = Counter(
        (outcome.point.phase, outcome.point.kind, _ending(outcome)) for outcome in outcomes if outcome.point
    )
    for (phase, kind, ending), count in sorted(counts.items()):
        yield f"{phase:9} {kind:8} {count:6} {ending}"


def _ending(outcome: Outcome) -> str:
    if not outcome.struck:
        return "over before the fault"
    failed = [f"{step}: {said}" for step, said in outcome.said.items() if said != "success"]
    return ", ".join(failed) or "nothing lost"
