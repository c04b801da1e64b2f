"""Runs commands on one session: through runners where the host can have them, else a channel for each.

It holds what the contract promises of a command: every one ends as a result or as one typed error, its
processes on the host end when this side gives up, and none is ever sent twice. What became of a command whose
connection was lost is asked on a new one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import paramiko

from dlpx_remote.transports.base import (
    AuthenticationFailed,
    CommandEnded,
    CommandResult,
    Deadlines,
    HostKeyError,
    NotSent,
    OutcomeUnknown,
    OutputCallback,
    OutputLost,
    ShellFacts,
    ShellUnavailable,
    TransportError,
)
from dlpx_remote.transports.limits import Limits, TimeUp, TooMuchOutput, closed, given_up
from dlpx_remote.transports.ssh import bootstrap, runner_script
from dlpx_remote.transports.ssh.channels import Channels
from dlpx_remote.transports.ssh.commands import Command, signal_name
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.facts import FACTS, parse_facts
from dlpx_remote.transports.ssh.runners import Fate, Kind, NoPerl, NoRunner, Runner
from dlpx_remote.transports.ssh.session import Session, SessionLost
from dlpx_remote.transports.ssh.target import Hop
from dlpx_remote.transports.ssh.trace import Tracer

ENDING = 8.0
"""Seconds for ending a command, its grace for tidying up included: a caller out of time waits for it."""

BEGINNING = 1.0
"""Seconds of those for the first word of a command that has just been handed over."""

ENDING_BESIDE = 5.0
"""Seconds of those on the same connection; the rest is for a connection of its own."""

ENDING_ANSWER = 2.0
"""Seconds that the host may take to open a channel for it."""

LEAVING = 1.0
"""Seconds for the runners to end when the connection is closed; they need a few milliseconds."""

RUNNER_START = 15.0
"""Seconds for the first runner of a connection; an account whose start-up files take longer has none."""

FIRST_KIND: Kind = "perl"
"""What the first runner of a connection is to be; a bash follows where that cannot be."""

NO_TRACE = 1.0
"""Seconds after which a runner that never said anything is taken not to have left any trace either."""

ASK_AGAIN = 1.0
"""Seconds, at most, between two questions whether a command still runs."""

_LOGGER = logging.getLogger("dlpx_remote.transports.ssh")
LOST = (paramiko.SSHException, EOFError, OSError, SessionLost)
"""What paramiko raises when a session is gone."""


@dataclass(frozen=True)
class Invocation:
    """What to run, and how; already checked."""

    script: bytes
    limits: Limits
    variables: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    login_shell: bool = False
    expect: str | None = None
    home_needed: bool = False

    @property
    def size(self) -> int:
        """Bytes of the script and its variables' values."""
        return len(self.script) + sum(map(len, self.variables.values()))


Elsewhere = Callable[[Deadlines], AbstractContextManager["Execution"]]
"""Opens another connection to the same account; raises TransportError."""


class Execution:
    """Runs the commands of one connection.

    Args:
        session: authenticated.
        channels: of the session.
        hop: where the session leads to.
        deadlines: of the connection.
        tracer: of its stages.
        elsewhere: see :data:`Elsewhere`.

    Attributes:
        running: the commands that run now.
    """

    def __init__(
        self,
        session: Session,
        channels: Channels[Runner],
        hop: Hop,
        *,
        deadlines: Deadlines,
        tracer: Tracer,
        elsewhere: Elsewhere,
    ) -> None:
        self._session = session
        self._channels = channels
        self._address = hop.address
        self._where = hop.where
        self._deadlines = deadlines
        self._tracer = tracer
        self._elsewhere = elsewhere
        self._facts: ShellFacts | None = None
        self._facts_lock = threading.Lock()
        self._no_runner: str | None = None
        self._kind: Kind = FIRST_KIND
        self._runners = False
        self._closing = threading.Event()
        self.running: set[Command] = set()

    @property
    def known_facts(self) -> ShellFacts | None:
        """The facts as far as they are known without asking."""
        return self._facts

    def facts(self, seconds: float) -> ShellFacts:
        """The facts, asked for once.

        Raises:
            TransportError: as for :meth:`run`.
        """
        if self._facts is not None:
            return self._facts
        if not self._facts_lock.acquire(timeout=seconds):
            raise NotSent(
                f"{self._address} did not answer within {seconds:g} s.", "Try again.", **self._where
            )
        try:
            if self._facts is None:
                result = self.run(Invocation(FACTS, Limits(seconds, None, 1 << 20)))
                if self._facts is None:  # a runner that is a bash tells them when it starts
                    self._note_facts(result.stdout)
            return self._facts or parse_facts(self._where["user"], b"", no_runner=self._no_runner)
        finally:
            self._facts_lock.release()

    def run(self, invocation: Invocation, on_output: OutputCallback | None = None) -> CommandResult:
        """Run one command.

        Raises:
            TransportError: as the contract of a connection says.
        """
        self.make_sure(invocation.limits.deadline)
        while self._no_runner is None:
            try:
                return self._by_runner(invocation, on_output)
            except NoPerl as error:
                self._kind = "bash"
                _LOGGER.info("No runner that is a perl on %s: %s", self._address, error)
            except NoRunner as error:
                self._no_runner = str(error)
                _LOGGER.info("No runner on %s: %s", self._address, error)
        with self._channel(invocation.limits) as channel:
            command = Command(self._session, channel, bootstrap.Token.new(), self._where)
            return self._supervise(command, lambda: self._alone(command, invocation, on_output), invocation)

    def make_sure(self, deadline: Deadline) -> None:
        """See that the host still knows the connection; see :meth:`Session.make_sure`.

        Raises:
            NotSent: it does not, or gives no sign of life in time.
        """
        try:
            self._session.make_sure(deadline)
        except TimeUp as error:
            raise NotSent(
                f"{self._where['host']} gave no sign of life in time, so nothing was sent.",
                "See whether it is up and reached, and try again.",
                **self._where,
            ) from error
        except LOST as error:
            raise _not_sent(self._where, error) from error

    def end(self, command: Command, *, reading: bool = True) -> bool:
        """End a command's processes on the host, within ``ENDING``; True when none is left.

        Args:
            command: that was handed over.
            reading: whether the calling thread is the one that reads its answer.
        """
        command.wait_for_watcher(BEGINNING, reading=reading)
        if command.watcher is None:
            return False
        script = bootstrap.kill_script(command.process_group, command.watcher)
        deadline = Deadline(ENDING)
        with contextlib.suppress(TransportError, TimeUp, *LOST):
            return self.end_beside(script, Deadline(ENDING_BESIDE))
        # All sessions of this connection are in use, or it is lost or silent: a connection of its own.
        try:
            with self._elsewhere(Deadlines(connect=deadline.remaining() or 0.0, settle=0.0)) as other:
                return other.end_beside(script, deadline)
        except (TransportError, TimeUp, *LOST) as error:
            _LOGGER.warning("A command on %s could not be ended: %s", self._address, error)
            return False

    def end_beside(self, script: bytes, deadline: Deadline) -> bool:
        """Run the ending script on a channel outside the limit; it is not itself ended when it takes long."""
        channel = self._channels.open_unlimited(Deadline(deadline.remaining(at_most=ENDING_ANSWER)))
        try:
            command = Command(self._session, channel, bootstrap.Token.new(), self._where)
            invocation = Invocation(script, Limits(deadline.remaining(), None, 1 << 16))
            return self._alone(command, invocation, None).stdout == b"gone\n"
        finally:
            channel.close()

    def close(self) -> None:
        """End what still runs, and the runners; raises nothing."""
        self._closing.set()
        for command in list(self.running):
            try:
                self.end(command, reading=False)
            except Exception as error:
                _LOGGER.warning("A command on %s could not be ended: %s", self._address, error)
        parked = self._channels.parked()
        for runner in parked:
            runner.retire()
        until = time.monotonic() + LEAVING
        for runner in parked:
            while not (runner.channel.closed or runner.channel.eof_received) and time.monotonic() < until:
                time.sleep(0.001)
            runner.over()
            self._channels.close(runner.channel)

    # through a runner

    def _by_runner(self, invocation: Invocation, on_output: OutputCallback | None) -> CommandResult:
        runner = self._runner(invocation.limits)
        try:
            return self._on_runner(runner, invocation, on_output)
        finally:
            if runner.usable and not self._closing.is_set():
                self._channels.park(runner)
            else:
                runner.retire()
                runner.over()
                self._channels.close(runner.channel)

    def _runner(self, limits: Limits) -> Runner:
        with self._no_session():
            runner = self._channels.take(limits.deadline)
            if runner is not None:
                return runner
            with self._tracer.stage("channel", self._address):
                channel = self._channels.open(limits.deadline)
        facts = self._facts is None
        return Runner(self._session, channel, self._where, kind=self._kind, want_facts=facts)

    def _on_runner(
        self, runner: Runner, invocation: Invocation, on_output: OutputCallback | None
    ) -> CommandResult:
        fresh = not runner.ready
        if fresh and not self._runners:
            # The first must say that it runs before it is given a script: nothing else may get to read it.
            try:
                runner.start(invocation.limits.at_most(RUNNER_START))
            finally:
                self._runners = runner.ready
                if self._facts is None and runner.facts:
                    self._note_facts("\n".join(runner.facts).encode())
            fresh = False
        command = runner.command(login_shell=invocation.login_shell)
        text = runner_script.job(
            _payload(runner.token, invocation, reports_start=invocation.login_shell),
            login_shell=invocation.login_shell,
        )
        if fresh:
            text = runner.opening() + text

        def converse() -> CommandResult:
            command.send(text, invocation.limits, start=runner.exec if fresh else None, end=False)
            return command.collect(invocation.limits, on_output)

        try:
            return self._supervise(command, converse, invocation)
        except (ShellUnavailable, OutcomeUnknown) as error:
            if runner.refusal is not None:
                raise runner.refused("") from None
            if runner.unable is not None:
                raise NotSent(
                    f"{self._where['host']} could not start the script: {runner.unable}; it was not run.",
                    "Try again when there is room for more processes on the host.",
                    **self._where,
                ) from None
            if isinstance(error, ShellUnavailable):
                raise
            raise self._settled(error, runner.fate, command, invocation.limits) from error

    def _note_facts(self, lines: bytes) -> None:
        self._facts = parse_facts(self._where["user"], lines, no_runner=self._no_runner)

    # on a channel of its own

    def _alone(
        self, command: Command, invocation: Invocation, on_output: OutputCallback | None
    ) -> CommandResult:
        locale = self._facts.locale if self._facts is not None else None
        text = bootstrap.watcher(command.token, login_shell=invocation.login_shell) + bootstrap.framed(
            command.token, _payload(command.token, invocation, reports_start=True), locale
        )
        command.send(text, invocation.limits, start=bootstrap.EXEC)
        return command.collect(invocation.limits, on_output)

    @contextlib.contextmanager
    def _channel(self, limits: Limits) -> Iterator[paramiko.Channel]:
        with self._no_session(), self._tracer.stage("channel", self._address):
            channel = self._channels.open(limits.deadline)
        try:
            yield channel
        finally:
            self._channels.close(channel)

    @contextlib.contextmanager
    def _no_session(self) -> Iterator[None]:
        """Make what keeps a command from being sent one of ours."""
        try:
            yield
        except TimeUp as error:
            raise NotSent(
                f"No free session on {self._address} in time: {self._channels.limit} commands run at once.",
                "Allow more time, or raise MaxSessions on the host.",
                **self._where,
            ) from error
        except LOST as error:
            raise _not_sent(self._where, error) from error

    # what may become of a command

    def _supervise(
        self, command: Command, converse: Callable[[], CommandResult], invocation: Invocation
    ) -> CommandResult:
        """Run, and end the processes on the host whenever this side gives up."""
        self.running.add(command)
        try:
            with self._tracer.stage("run", self._address) as detail:
                result = converse()
                detail.text = f"exit code {result.exit_code}"
                detail.sent, detail.received = invocation.size, len(result.stdout) + len(result.stderr)
            if self._closing.is_set():
                raise closed(result, self._where)
            return result
        except (TimeUp, TooMuchOutput) as reason:
            raise self._given_up(command, reason, invocation.limits) from None
        except TransportError:
            raise
        except BaseException:  # the caller's callback failed, or it was interrupted
            self.end(command)
            raise
        finally:
            self.running.discard(command)

    def _given_up(self, command: Command, reason: Exception, limits: Limits) -> CommandEnded:
        killed = self.end(command)
        with contextlib.suppress(TooMuchOutput):
            command.drain(limits.max_output)
        return given_up(command, reason, limits, self._where, killed=killed)

    # what became of a command whose connection was lost

    def _settled(self, error: OutcomeUnknown, fate: Fate, command: Command, limits: Limits) -> TransportError:
        """The error to raise instead of ``error``, once the host was asked."""
        if self._closing.is_set() or not self._deadlines.settle:
            return error
        give_up = Deadline(limits.deadline.remaining(at_most=self._deadlines.settle))
        pause = 0.05
        while True:
            try:
                with self._elsewhere(Deadlines(connect=give_up.remaining() or 0.0, settle=0.0)) as other:
                    return other.settle(error, fate, command, limits)
            except (AuthenticationFailed, HostKeyError):
                return error
            except TransportError as failure:
                _LOGGER.info("%s cannot be asked for the command that was lost: %s", self._address, failure)
            if (give_up.remaining() or 0.0) <= pause:
                return error
            time.sleep(pause)
            pause = min(2 * pause, ASK_AGAIN)

    def settle(self, error: OutcomeUnknown, fate: Fate, command: Command, limits: Limits) -> TransportError:
        """Ask here what became of a command that ran on a lost connection; waits while it still runs.

        Returns:
            The error that tells it; ``error`` itself where the host does not know.

        Raises:
            TransportError: the host could not be asked.
        """
        script = runner_script.settle(fate.runner, fate.watcher, fate.born)
        silent = Deadline(NO_TRACE)
        pause = 0.05
        while True:
            answer = self.run(Invocation(script, Limits(ENDING, None, 1 << 16))).stdout.decode().split()
            if answer[:1] == ["file"] and len(answer) == 3:
                return self._told(error, fate, command, int(answer[1]), answer[2])
            if answer == ["gone"] and (fate.watcher or silent.expired):
                return error
            if answer == ["running"] and limits.deadline.expired:
                return self._given_up(command, TimeUp(), limits)
            time.sleep(pause)
            pause = min(2 * pause, limits.deadline.remaining(at_most=ASK_AGAIN) or 0.01)

    def _told(
        self, error: OutcomeUnknown, fate: Fate, command: Command, number: int, code: str
    ) -> TransportError:
        """What the file of a runner says of one command.

        Args:
            number: the last command that reached the host.
            code: ``n`` when it did not arrive whole, else its exit code.
        """
        host, why = self._where["host"], f" ({command.loss})" if command.loss else ""
        if number < fate.number or code == "n":
            return NotSent(
                f"The connection to {host} was lost{why} before the script had arrived there; "
                "it was not run.",
                "Try again.",
                **self._where,
            )
        if number > fate.number or not code.isdigit():
            return error
        signal = signal_name(int(code))
        ending = f"was ended by SIG{signal}" if signal else f"ended with exit code {code}"
        return OutputLost(
            f"The connection to {host} was lost while the script ran{why}; it {ending}, and what it wrote in "
            "the end is lost.",
            "Do not run it again without need; look at the host for what it has done.",
            exit_code=int(code),
            stdout=command.stdout,
            stderr=command.stderr,
            **self._where,
        )


def _payload(token: bootstrap.Token, invocation: Invocation, *, reports_start: bool) -> bytes:
    return bootstrap.payload(
        token,
        invocation.script,
        invocation.variables,
        expect=invocation.expect,
        home_needed=invocation.home_needed,
        reports_start=reports_start,
    )


def _not_sent(where: Mapping[str, str], error: BaseException) -> NotSent:
    return NotSent(
        f"The connection to {where['host']} is closed or was lost{because(error)}.",
        "Connect again.",
        **where,
    )


def because(error: BaseException) -> str:
    """The error's own words behind a colon."""
    text = str(error).strip().rstrip(".")
    return f": {text}" if text else ""
