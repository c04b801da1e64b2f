"""WinRM streams that are cut, reset, stalled or spoilt at some byte: the same promises as for SSH.

No false success, no script run twice, no hang beyond the deadline, the next command works, no shell left. How
much of it runs is said as for the SSH sweep, with the same options.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import containers.winrm.responder
import tests.hosts.winrm
from containers.winrm.responder import Invocation, Reply
from dlpx_remote.transports import base
from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CommandTimeout,
    ConnectFailed,
    Deadlines,
    HostKeyError,
    NotSent,
    OutcomeUnknown,
    OutputLost,
    TransferFailed,
    TransportError,
)
from dlpx_remote.transports.winrm import WinrmConnection, connect
from tests.hosts.faults.journal import TRANSPORTS_AND_FAULTS, Journal, Progress
from tests.hosts.faults.points import (
    DIRECTIONS,
    Lengths,
    Outcome,
    Phase,
    Point,
    all_points,
    mixed,
    sample,
    table,
)
from tests.hosts.faults.proxy import Fault, Proxy
from tests.hosts.winrm.conftest import MATRIX, WindowsFactory
from tests.hosts.winrm.windows import Windows
from tests.side_by_side import Say

PHASES: tuple[Phase, ...] = ("connect", "run-first", "transfer", "close")
DEADLINE = 2.0
"""Seconds for connecting, and for a command or file."""

ENDING = 2 * 5.0 + 3.0 + 2.0
"""Seconds beyond it: for a last answer, ending a command, ending its shell; and some for a slow machine."""

AT_ONCE = 8
BATCH = 100
OUTPUT = "".join(f"line {number} of the output\r\n" for number in range(50)).encode()
NEW, OLD = b"new content " * 300, b"old content"


class Stage:
    """Where points are played: one host, and what happened on it."""

    def __init__(self, windows: Windows, directory: Path) -> None:
        self.windows = windows
        self.deadline = 30.0
        target = windows.target
        # Over HTTP with Basic nothing would tell a spoilt byte.
        self.tells_spoilt_bytes = (target.scheme, target.authentication) != ("http", "basic")
        self.runs: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._source = directory / "source"
        self._source.write_bytes(NEW)
        windows.script("^# witness", self._witness)
        windows.script(r"\[IO.File\]::Open\(\$part", self._put)

    def _witness(self, run: Invocation) -> Reply:
        with self._lock:
            self.runs[run.script] += 1
        return Reply(stdout=OUTPUT, stderr=run.variables["SAID"])

    def _put(self, run: Invocation) -> Reply:
        *lines, seal = run.stdin.split(b"\n.\n", 1)[1].splitlines() or [b""]
        data = b"".join(base64.b64decode(line, validate=True) for line in lines)
        found = hashlib.sha256(data).hexdigest()
        if seal != b"=" + found.encode():
            return Reply(exit_code=1)
        with self._lock:
            self.files[run.variables["DLPX_PATH"]] = data
        return Reply(stdout=found)

    def measure(self) -> Lengths:
        """Bytes of each phase and direction without a fault; its pace sets the deadline."""
        found: Lengths = {}
        began = time.monotonic()
        with self._proxy() as proxy:
            before = dict.fromkeys(DIRECTIONS, 0)

            def note(phase: Phase) -> None:
                for direction, passed in proxy.links[0].passed.items():
                    found[phase, direction] = passed - before[direction]
                    before[direction] = passed

            connection = self._connect(proxy, self.deadline)
            note("connect")
            connection.run("# witness 0", interpreter="powershell", variables={"SAID": "stderr"})
            note("run-first")
            connection.put(self._source, "measured")
            note("transfer")
            connection.close()
            note("close")
        self.deadline = max(DEADLINE, 8 * (time.monotonic() - began))
        return found

    def play(self, point: Point | None) -> Outcome:
        """One conversation with one fault, judged at its end.

        One in which something ran out of time before the fault has shown nothing but a busy machine: it is
        played again, with more time.
        """
        outcome = self._play(point, self.deadline)
        for patience in (4, 16):
            if outcome.struck or set(outcome.said.values()) == {"success"}:
                break
            outcome = self._play(point, patience * self.deadline)
        return outcome

    def _play(self, point: Point | None, deadline: float) -> Outcome:
        outcome = Outcome(point)
        name = f"# witness {next(self._numbers)}"
        self.files[name] = OLD
        fault = Fault(point.kind, point.direction, point.offset) if point else None
        phase = point.phase if point else "close"
        with self._proxy() as proxy:

            def arm(now: Phase) -> None:
                if fault is not None and phase == now:
                    proxy.links[0].arm(fault)

            if fault is not None and phase == "connect":
                proxy.arm(fault)
            made: list[WinrmConnection] = []
            step = partial(self._step, outcome, deadline)
            step("connect", lambda: made.append(self._connect(proxy, deadline)))
            if made:
                arm("run-first")
                step("run", lambda: self._run(made[0], name, outcome))
                arm("transfer")
                if phase == "transfer" or fault is None:
                    step("put", lambda: self._put_file(made[0], name))
                arm("close")
                step("close", made[0].close)
            outcome.struck = bool(proxy.links) and proxy.links[0].struck is not None
            step("next", lambda: self._next(proxy))
        self._judge(outcome, name)
        return outcome

    def _proxy(self) -> Proxy:
        return Proxy("127.0.0.1", self.windows.host.port)

    def _connect(self, proxy: Proxy, seconds: float) -> WinrmConnection:
        target = replace(self.windows.target, port=proxy.port)
        return connect(target, deadlines=Deadlines(connect=seconds, idle=seconds, total=seconds))

    def _run(self, connection: WinrmConnection, name: str, outcome: Outcome) -> None:
        result = connection.run(name, interpreter="powershell", variables={"SAID": "the other stream"})
        if (result.exit_code, result.stdout, result.stderr) != (0, OUTPUT, b"the other stream"):
            outcome.broken.append(f"run returned what the script did not give: {result}")

    def _put_file(self, connection: WinrmConnection, name: str) -> None:
        connection.put(self._source, name)

    def _next(self, proxy: Proxy) -> None:
        with self._connect(proxy, 60.0) as connection:
            result = connection.run("'next'", interpreter="powershell")
        if result.stdout != b"next\r\n":
            raise AssertionError(result)

    def _step(self, outcome: Outcome, deadline: float, name: str, action: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            action()
            outcome.said[name] = "success"
        except TransportError as error:
            outcome.said[name] = type(error).__name__
            spoilt = outcome.point is not None and outcome.point.kind == "corrupt"
            # A spoilt login cannot be told from a refused one; nothing else refuses.
            dishonest = () if spoilt else (AuthenticationFailed, HostKeyError)
            if not isinstance(error, HONEST[name]) or isinstance(error, dishonest):
                outcome.broken.append(f"{name} said {type(error).__name__}: {error}")
        except Exception as error:
            outcome.said[name] = type(error).__name__
            outcome.broken.append(f"{name} let a foreign error out: {error!r}")
        took = time.monotonic() - began
        if name != "next" and took > deadline + ENDING * deadline / DEADLINE:
            outcome.broken.append(f"{name} hung for {took:.1f} s with a deadline of {deadline:g} s")

    def _judge(self, outcome: Outcome, name: str) -> None:
        runs, said = self.runs[name], outcome.said.get("run")
        allowed = {0, 1}
        if said in ("success", "OutputLost"):
            allowed = {1}
        elif said is None or said in NOT_SENT:
            allowed = {0}
        if runs not in allowed:
            outcome.broken.append(f"run said {said}, but the script ran {runs} times")
        content, said = self.files[name], outcome.said.get("put")
        contents = {"success": {NEW}, "TransferFailed": {OLD}, None: {OLD}}.get(said, {OLD, NEW})
        if content not in contents:
            outcome.broken.append(f"put said {said}, but the file is {content[:20]!r}")
        if outcome.said.get("next") != "success":
            outcome.broken.append(f"the next command on a new connection: {outcome.said.get('next')}")
        if not outcome.struck and set(outcome.said.values()) != {"success"}:
            outcome.broken.append(f"nothing was done to it, but: {outcome.said}")


HONEST: dict[str, tuple[type[TransportError], ...]] = {
    "connect": (ConnectFailed,),
    "run": (NotSent, OutcomeUnknown, OutputLost, CommandTimeout),
    "put": (TransferFailed, OutcomeUnknown),
    "close": (),
    "next": (),
}
NOT_SENT = {name for name, kind in vars(base).items() if isinstance(kind, type) and issubclass(kind, NotSent)}


@pytest.mark.parametrize(("scheme", "authentication"), MATRIX, ids=["-".join(each) for each in MATRIX])
def test_no_fault_at_any_byte_makes_the_transport_lie_repeat_or_hang(
    windows_with: WindowsFactory,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    say: Say,
    scheme: str,
    authentication: str,
) -> None:
    option = pytestconfig.option
    name = f"{scheme} {authentication}"

    with windows_with(scheme=scheme, authentication=authentication) as windows:
        stage = Stage(windows, tmp_path)
        lengths = stage.measure()
        untouched = stage.play(None)
        untouched.struck = True
        assert untouched.broken == []
        assert set(untouched.said.values()) == {"success"}
        began = time.monotonic()
        missing = 0
        if option.all_faults and not option.fault_point:
            journal = _journal(pytestconfig, f"{scheme}-{authentication}")
            missing = _sweep(stage, journal, option, lambda text: say(f"{name}: {text}"), lengths)
            outcomes = journal.outcomes
        else:
            points = [Point.parse(text) for text in option.fault_point] or sample(
                _points(lengths, stage), option.fault_points // len(MATRIX), option.fault_seed
            )
            outcomes = _play(stage, mixed(points, option.fault_seed))
    title = f"\n{name}: {len(outcomes)} points in {time.monotonic() - began:.0f} s"
    say("\n".join([title, *table(outcomes)]))
    broken = [f"{outcome.point}: {'; '.join(outcome.broken)}" for outcome in outcomes if outcome.broken]
    if missing:
        broken.append(f"{missing} points are not played yet: run it again to go on.")
    if broken:
        pytest.fail(f"{len(broken)} of {len(outcomes)} points:\n" + "\n".join(broken), pytrace=False)


def _points(lengths: Lengths, stage: Stage) -> list[Point]:
    points = all_points(lengths)
    if stage.tells_spoilt_bytes:
        return points
    return [point for point in points if point.kind != "corrupt"]


def _play(stage: Stage, points: list[Point]) -> list[Outcome]:
    with ThreadPoolExecutor(AT_ONCE, "point") as pool:
        return list(pool.map(stage.play, points))


def _journal(config: pytest.Config, name: str) -> Journal:
    if config.option.fault_journal:
        path: Path = config.option.fault_journal
        path = path.with_name(f"{path.name}.winrm-{name}")
    else:
        assert config.cache is not None
        path = config.cache.mkdir("faults") / f"winrm-{name}.jsonl"
    return Journal(path, (*TRANSPORTS_AND_FAULTS, tests.hosts.winrm, containers.winrm.responder))


def _sweep(
    stage: Stage, journal: Journal, option: Namespace, say: Callable[[str], None], lengths: Lengths
) -> int:
    """Play every point that the journal does not know; how many are not played at the end."""
    if journal.lengths is None:
        journal.begin(lengths)
    assert journal.lengths is not None
    remaining = mixed(
        (
            point
            for point in _points(journal.lengths, stage)
            if point not in journal.done and (not option.fault_phase or point.phase in option.fault_phase)
        ),
        option.fault_seed,
    )
    say(f"{len(remaining)} points, {len(journal.done)} done before; journal: {journal.path}")
    progress = Progress(len(journal.done) + len(remaining), len(journal.done))
    until = time.monotonic() + 60 * (option.fault_minutes or float("inf")) / len(MATRIX)
    while remaining and time.monotonic() < until:
        batch, remaining = remaining[:BATCH], remaining[BATCH:]
        journal.add(_play(stage, batch))
        broken = [outcome for outcome in journal.outcomes if outcome.broken]
        for line in progress.lines(len(journal.done), len(broken)):
            say(line)
    return len(remaining)
