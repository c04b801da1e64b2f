"""Plays the points of a sweep over a conversation (connect, run, transfer, close), and judges them.

Playing a point leaves traces (a witness file that the script appends to, a file that is copied), and judging
it compares what the transport claimed with what they show. Claims are judged only after everything on the
host has ended, so that a script that runs late is noticed.

After every point a command runs on a new connection. That connection is kept, and a later point that begins
on a healthy connection takes it: most of what a point costs is a login.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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
from dlpx_remote.transports.ssh import SshConnection, SshTarget, connect
from tests.hosts.faults.leftovers import files_left, places_of, session_processes, wait_until_empty
from tests.hosts.faults.points import DIRECTIONS, PHASES, Lengths, Outcome, Phase, Point
from tests.hosts.faults.proxy import Fault, Link, Proxy
from tests.hosts.sshd import Sshd

DEADLINE = 2.0
"""Seconds for connecting, for a command, and for a transfer."""

ENDING = 10.0
"""Seconds beyond the deadline that ending a command on the host may take before we call it a hang."""

SLOW = 8.0
"""On a slow machine the deadline is so many times what a whole conversation without a fault takes alone."""

HEALTHY = 60.0
"""Seconds for what no fault is done to."""

AT_ONCE = 32
"""Points side by side; most of them wait for a deadline."""

WORKING = 3
"""Points of those that do not wait: more of them would only slow each other down."""

NEW = random.Random(0).randbytes(1500)
OLD = b"what was there before"
_WITNESSED = "begin\nend\n"


@dataclass(frozen=True)
class Host:
    """A running server, as another process can be told of it.

    Attributes:
        places: where its sessions could leave files.
    """

    address: str
    port: int
    user: str
    key: Path
    fingerprint: str
    places: tuple[Path, ...]

    @classmethod
    def of(cls, server: Sshd) -> Host:
        """``server`` must allow as many sessions and logins at once as points are played."""
        fingerprint = server.fingerprint()
        return cls(server.address, server.port, server.user, server.user_key, fingerprint, places_of(server))


class Stage:
    """Where points are played: one host, one directory.

    Args:
        directory: for witnesses and copied files.
        deadline: seconds; :meth:`measure` sets it by the machine's pace.
    """

    def __init__(self, host: Host, directory: Path, deadline: float = HEALTHY) -> None:
        self.host = host
        self.deadline = deadline
        self.source = directory / "source"
        self.source.write_bytes(NEW)
        self._directory = directory
        self._ssh_config = directory / "ssh_config"
        self._ssh_config.touch()
        self._numbers = itertools.count(1)

    def measure(self) -> Lengths:
        """Lengths of the phases in a conversation without a fault; its pace sets the deadline."""
        began = time.monotonic()
        with Lane(self) as lane:
            found = lane.measure()
        self.deadline = max(DEADLINE, SLOW * (time.monotonic() - began - QUIET * len(PHASES)))
        return found

    def place(self) -> Path:
        """A directory for one point's traces."""
        place = self._directory / f"point-{next(self._numbers)}"
        place.mkdir()
        (place / "witness").touch()
        (place / "there").write_bytes(OLD)
        (place / "here").write_bytes(OLD)
        return place

    def target(self, port: int) -> SshTarget:
        """The way in through a proxy."""
        return SshTarget(
            host="127.0.0.1",
            port=port,
            user=self.host.user,
            key=str(self.host.key),
            fingerprint=self.host.fingerprint,
            ssh_config=self._ssh_config,
            default_keys=False,
        )


QUIET = 0.2
"""Seconds after a step in which what comes unasked still counts as the step's."""


@dataclass
class Played:
    """A point that was played, to be judged.

    Attributes:
        place: of its traces.
        ports: where its connections came from, as the host sees it.
    """

    outcome: Outcome
    place: Path
    ports: set[int]


@dataclass
class _Spare:
    """A healthy connection on which a command has succeeded."""

    connection: SshConnection
    link: Link


class Lane:
    """Plays one point after another through a proxy of its own; a context manager.

    Args:
        working: held while this lane works rather than waits.
    """

    def __init__(self, stage: Stage, working: threading.Semaphore | None = None) -> None:
        self._stage = stage
        self._working = working or threading.Semaphore()
        self._proxy = Proxy(stage.host.address, stage.host.port)
        self._spare: _Spare | None = None

    def __enter__(self) -> Lane:
        self._proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._spare is not None:
                self._spare.connection.close()
        finally:
            self._proxy.__exit__()

    def tidy(self) -> None:
        """Run a command, which takes away what cut-off connections have left for those who come to ask."""
        self._next()

    def measure(self) -> Lengths:
        """Lengths of the phases in a conversation without a fault."""
        found: Lengths = {}
        before = dict.fromkeys(DIRECTIONS, 0)

        def note(phase: Phase) -> None:
            time.sleep(QUIET)
            for direction, passed in self._proxy.links[0].passed.items():
                found[phase, direction] = passed - before[direction]
                before[direction] = passed

        step = _Step(self._stage, Outcome(None), self._stage.place())
        connection = self._connect(HEALTHY)
        note("connect")
        step.run(connection)
        note("run-first")
        step.run(connection)
        note("run-later")
        step.put(connection)
        step.get(connection)
        note("transfer")
        connection.close()
        note("close")
        if step.outcome.broken:
            raise AssertionError(step.outcome.broken)
        return found

    def play(self, point: Point | None) -> Played:
        """One conversation with one fault; None for one without."""
        outcome = Outcome(point)
        step = _Step(self._stage, outcome, self._stage.place())
        fault = Fault(point.kind, point.direction, point.offset) if point else None
        with self._while_working(unless=fault is not None and fault.kind == "stall") as work:
            before = [self._spare.link] if self._spare else []
            with work:
                connection, link = self._opening(point.phase if point else "connect", step)
            if fault is None or (point and point.phase == "connect"):
                if fault is not None:
                    self._proxy.arm(fault)
                connection = step("connect", lambda: self._connect(self._stage.deadline))
                link = next((link for link in self._proxy.links if link not in before), None)
            elif link is not None:
                link.arm(fault)
            if connection is not None:
                self._converse(point, connection, step)
            outcome.struck = link is not None and link.struck is not None
            with work:
                step("next", self._next)
        kept = [self._spare.link] if self._spare else []
        mine = [link for link in self._proxy.links if link not in kept]
        self._proxy.forget(mine)
        return Played(outcome, step.place, {link.port for link in mine})

    @contextlib.contextmanager
    def _while_working(self, unless: bool) -> Iterator[contextlib.AbstractContextManager[object]]:
        """Hold a place among those that work: for all of it, or for the parts that take what is yielded."""
        if unless:
            yield self._working
        else:
            with self._working:
                yield contextlib.nullcontext()

    def _opening(self, phase: Phase, step: _Step) -> tuple[SshConnection | None, Link | None]:
        """A healthy connection as ``phase`` begins with it."""
        if phase == "connect":
            return None, None
        if phase == "run-first":
            connection = step("connect", lambda: self._connect(HEALTHY))
            return connection, self._proxy.links[-1] if connection else None
        if self._spare is None:
            step("next", self._next)
        spare, self._spare = self._spare, None
        return (spare.connection, spare.link) if spare else (None, None)

    def _converse(self, point: Point | None, connection: SshConnection, step: _Step) -> None:
        try:
            if point is None or point.phase in ("connect", "run-first", "run-later"):
                step("run", lambda: step.run(connection))
            if point is None or point.phase == "transfer":
                step("put", lambda: step.put(connection))
                step("get", lambda: step.get(connection))
        finally:
            step("close", connection.close)

    def _connect(self, seconds: float) -> SshConnection:
        deadlines = Deadlines(connect=seconds, idle=HEALTHY, total=HEALTHY)
        return connect(self._stage.target(self._proxy.port), deadlines=deadlines)

    def _next(self) -> None:
        """The next command, on a new connection, which is kept."""
        if self._spare is not None:
            self._spare.connection.close()
            self._spare = None
        connection = self._connect(HEALTHY)
        link = self._proxy.links[-1]
        try:
            result = connection.run("printf 'the next'")
            if (result.exit_code, result.stdout) != (0, b"the next"):
                raise AssertionError(result)
        except BaseException:
            connection.close()
            raise
        self._spare = _Spare(connection, link)


class _Step:
    """The steps of one point, and what each said."""

    def __init__(self, stage: Stage, outcome: Outcome, place: Path) -> None:
        self._stage = stage
        self.outcome = outcome
        self.place = place

    def __call__(self, name: str, action: Callable[[], SshConnection | None]) -> SshConnection | None:
        outcome, deadline = self.outcome, self._stage.deadline
        began = time.monotonic()
        made = None
        try:
            made = action()
            outcome.said[name] = "success"
        except TransportError as error:
            code = f" {error.exit_code}" if isinstance(error, OutputLost) else ""
            outcome.said[name] = type(error).__name__ + code
            if not isinstance(error, _HONEST[name]) or isinstance(error, _DISHONEST):
                outcome.broken.append(f"{name} said {type(error).__name__}: {error}")
        except Exception as error:
            outcome.said[name] = type(error).__name__
            outcome.broken.append(f"{name} let a foreign error out: {error!r}")
        took = time.monotonic() - began
        if name != "next" and took > deadline + ENDING * deadline / DEADLINE:
            outcome.broken.append(f"{name} hung for {took:.1f} s with a deadline of {deadline:g} s")
        return made

    def run(self, connection: SshConnection) -> None:
        """A command that says something on both streams, and leaves a witness of each of its runs."""
        witness = self.place / "witness"
        script = (
            f"printf 'begin\\n' >>'{witness}'\n"
            # At once: in how many packets it comes would else be a matter of chance.
            "for ((i = 0; i < 50; i++)); do lines+=\"line $i of the output\"$'\\n'; done\n"
            'printf %s "$lines"\n'
            'printf %s "$SAID" >&2\n'
            f"printf 'end\\n' >>'{witness}'\n"
        )
        result = connection.run(
            script, variables={"SAID": "on the other stream"}, timeout=self._stage.deadline
        )
        stdout = "".join(f"line {number} of the output\n" for number in range(50))
        if (result.exit_code, result.stdout, result.stderr) != (0, stdout.encode(), b"on the other stream"):
            self.outcome.broken.append(f"run returned a result that the script did not give: {result}")

    def put(self, connection: SshConnection) -> None:
        """A file to the host."""
        connection.put(self._stage.source, str(self.place / "there"), timeout=self._stage.deadline)

    def get(self, connection: SshConnection) -> None:
        """A file from the host."""
        connection.get(str(self._stage.source), self.place / "here", timeout=self._stage.deadline)


_HONEST: dict[str, tuple[type[TransportError], ...]] = {
    "connect": (ConnectFailed,),
    "run": (NotSent, OutcomeUnknown, OutputLost, CommandTimeout),
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


def judge(played: Played) -> None:
    """Compare what was claimed with what is there; call it once nothing runs on the host any more."""
    outcome, place = played.outcome, played.place
    witness = (place / "witness").read_text()
    said = outcome.said.get("run")
    allowed = {"", "begin\n", _WITNESSED}
    if said in ("success", "OutputLost 0"):
        allowed = {_WITNESSED}
    elif said is not None and said.startswith("OutputLost"):
        allowed = {"begin\n", _WITNESSED}
    elif said == "OutcomeUnknown":
        outcome.broken.append("its outcome stayed unknown, although the host could be asked")
    elif said is None or said in _NOT_SENT:
        allowed = {""}
    if witness not in allowed:
        outcome.broken.append(f"run said {said}, but the script left {witness!r}")
    for step, expected in (("put", "there"), ("get", "here")):
        content = (place / expected).read_bytes()
        said = outcome.said.get(step)
        contents = {"success": {NEW}, "TransferFailed": {OLD}, None: {OLD}}.get(said, {OLD, NEW})
        if content not in contents:
            what = {NEW: "new", OLD: "old"}.get(content, f"neither old nor new ({len(content)} bytes)")
            outcome.broken.append(f"{step} said {said}, but the file is {what}")
    if left := {path.name for path in place.iterdir()} - {"witness", "there", "here"}:
        outcome.broken.append(f"left behind: {', '.join(sorted(left))}")
    if outcome.said.get("next") != "success":
        outcome.broken.append(f"the next command on a new connection: {outcome.said.get('next')}")
    if not outcome.struck and set(outcome.said.values()) != {"success"}:
        outcome.broken.append(f"nothing was done to it, but: {outcome.said}")


def play_all(stage: Stage, points: Iterable[Point], at_once: int = AT_ONCE) -> list[Outcome]:
    """Play points side by side, wait until nothing of them runs on the host, and judge them.

    Returns:
        An outcome for each point, and one without a point for what is left and cannot be told to be one's.

    Raises:
        AssertionError: something is left that cannot be told to be one point's.
    """
    threads = set(threading.enumerate())
    working = threading.Semaphore(WORKING)
    waiting: queue.SimpleQueue[Point] = queue.SimpleQueue()
    for point in points:
        waiting.put(point)
    played: list[Played] = []

    def play() -> None:
        with Lane(stage, working) as lane, contextlib.suppress(queue.Empty):
            while True:
                played.append(lane.play(waiting.get_nowait()))

    lanes = min(at_once, waiting.qsize())
    with ThreadPoolExecutor(lanes, "lane") as pool:
        for done in [pool.submit(play) for _ in range(lanes)]:
            done.result()
    _note_processes_left(stage.host, played)
    wait_until_empty(lambda: [repr(thread) for thread in set(threading.enumerate()) - threads])
    for one in played:
        judge(one)
        if not one.outcome.broken:
            shutil.rmtree(one.place)
    return [one.outcome for one in played] + _files_left(stage)


def _files_left(stage: Stage) -> list[Outcome]:
    """An outcome of no point in particular where files are left; they are removed."""
    with Lane(stage) as lane:
        lane.tidy()
    wait_until_empty(lambda: session_processes(stage.host))
    if not (left := files_left(stage.host.places)):
        return []
    for name in left:
        Path(name).unlink(missing_ok=True)
    return [Outcome(None, broken=[f"{len(left)} files left by some of these points: {', '.join(left)}"])]


def _note_processes_left(host: Host, played: list[Played]) -> None:
    """Name the points that left something running; end it, so that it is not laid to others too."""
    with contextlib.suppress(AssertionError):
        wait_until_empty(lambda: session_processes(host))
    for process in session_processes(host):
        for one in played:
            if process.client_port in one.ports:
                one.outcome.broken.append(f"left running: {process}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.process, signal.SIGKILL)
    wait_until_empty(lambda: session_processes(host))
