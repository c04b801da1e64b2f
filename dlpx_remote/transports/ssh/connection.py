"""An open SSH connection: the transport's contract on top of sessions, channels and commands.

Safe for many threads: each command has a channel of its own, and the number of channels is capped by what the
host allows. What a command needs (locale, tools, home) is asked for once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import paramiko

from dlpx_remote.redaction import REDACTOR
from dlpx_remote.transports.base import (
    MAX_OUTPUT,
    CommandEnded,
    CommandResult,
    CommandTimeout,
    Deadlines,
    FileCopied,
    InvalidCommand,
    NotSent,
    OutcomeUnknown,
    OutputCallback,
    OutputTooLarge,
    ShellFacts,
    ShellUnavailable,
    SyncFailed,
    SyncProgress,
    SyncResult,
    TransferFailed,
    TransportError,
)
from dlpx_remote.transports.privilege import Privilege, Privileged, reason_in
from dlpx_remote.transports.ssh import bootstrap, files
from dlpx_remote.transports.ssh.channels import Channels
from dlpx_remote.transports.ssh.commands import Command, Idle, Limits, TooMuchOutput
from dlpx_remote.transports.ssh.connecting import Opened, open_sessions
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.facts import parse_facts
from dlpx_remote.transports.ssh.scripted import Scripted, scripted
from dlpx_remote.transports.ssh.session import SessionLost, TimeUp
from dlpx_remote.transports.ssh.sync import RefusedByHost, SyncRequest, sync
from dlpx_remote.transports.ssh.target import SshTarget
from dlpx_remote.transports.ssh.trace import StageDetail, Trace, Tracer

SHELL_START = 60.0
"""Seconds that an account's start-up files may take before the first command."""

ENDING = 8.0
"""Seconds for ending a command, its grace for tidying up included: a caller out of time waits for it."""

ENDING_BESIDE = 5.0
"""Seconds of those on the same connection; the rest is for a connection of its own."""

ENDING_ANSWER = 2.0
"""Seconds that the host may take to open a channel for it."""

_LOGGER = logging.getLogger("dlpx_remote.transports.ssh")
_LOST = (paramiko.SSHException, EOFError, OSError, SessionLost)


@dataclass(frozen=True)
class _Invocation:
    """What to run, and how; already checked."""

    script: bytes
    limits: Limits
    variables: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    locale: str | None = None
    login_shell: bool = False
    expect: str | None = None
    home_needed: bool = False

    @property
    def size(self) -> int:
        """Bytes of the script and its variables' values."""
        return len(self.script) + sum(map(len, self.variables.values()))


def connect(
    target: SshTarget, *, deadlines: Deadlines | None = None, trace: Trace | None = None
) -> SshConnection:
    """Open a connection.

    Args:
        target: the account, and how to get in.
        deadlines: ``connect`` covers everything until the login is complete, jump hosts included; None takes
            the defaults.
        trace: called with every stage's start and end, from the thread that works.

    Raises:
        ConnectFailed: with the subclass that says where it stopped.
        InvalidRequest: target or ``ssh_config`` cannot be used.
    """
    deadlines = deadlines or Deadlines()
    return SshConnection(target, open_sessions(target, deadlines, trace), deadlines, trace)


class SshConnection:
    """Implements :class:`dlpx_remote.transports.base.Connection`; made by :func:`connect`."""

    def __init__(self, target: SshTarget, opened: Opened, deadlines: Deadlines, trace: Trace | None) -> None:
        self._target = target
        self._opened = opened
        self._deadlines = deadlines
        self._trace = trace
        self._tracer = Tracer(trace)
        self._session = opened.sessions[-1]
        self._channels = Channels(self._session, self.address)
        self._where = {"host": opened.hop.host, "user": opened.hop.user}
        self._facts: ShellFacts | None = None
        self._facts_lock = threading.Lock()
        self._running: set[Command] = set()
        self._closing = threading.Event()

    @property
    def address(self) -> str:
        """``user@host:port`` for people."""
        return self._opened.hop.address

    @property
    def is_open(self) -> bool:
        """False once the connection is closed or known to be lost."""
        return self._session.is_active()

    def __repr__(self) -> str:
        return f"<SshConnection {self.address} {'open' if self.is_open else 'closed'}>"

    def __enter__(self) -> SshConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def facts(self) -> ShellFacts:
        """Facts about the account and host, asked for once and then kept.

        Raises:
            The same as :meth:`run`.
        """
        return self._facts_within(SHELL_START)

    def run(
        self,
        script: str | bytes,
        *,
        variables: Mapping[str, str | bytes] | None = None,
        login_shell: bool = False,
        interpreter: Literal["bash", "expect", "powershell"] = "bash",
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: OutputCallback | None = None,
    ) -> CommandResult:
        """See :meth:`dlpx_remote.transports.base.Connection.run`."""
        if interpreter == "powershell":
            raise InvalidCommand(
                "PowerShell scripts run on Windows hosts; this connection is SSH to a Unix host.",
                "Use a bash script, or an environment of a Windows host.",
                **self._where,
            )
        data = bootstrap.check_script(script)
        total = timeout if timeout is not None else self._deadlines.total
        limits = Limits(total, self._deadlines.idle, max_output)
        facts = self._facts_before_a_script(limits)
        checked = bootstrap.check_variables(variables, linux=facts.kernel.startswith("Linux"))
        invocation = _Invocation(
            data,
            limits,
            variables=checked,
            locale=facts.locale,
            login_shell=login_shell,
            expect=self._expect(facts) if interpreter == "expect" else None,
            home_needed=True,
        )
        with REDACTOR.variables(checked.values()):
            return self._execute(invocation, on_output)

    def put(
        self,
        source: Path,
        destination: str,
        *,
        mode: int = 0o600,
        owner: str = "",
        timeout: float | None = None,
    ) -> FileCopied:
        """See :meth:`dlpx_remote.transports.base.Connection.put`."""
        with self._transfer(f"{source} to {destination}", timeout) as (detail, transfer):
            copied = transfer.put(source, destination, mode=mode, owner=owner)
            detail.text += files.in_words(copied)
            detail.sent = copied.size
            return copied

    def get(
        self, source: str, destination: Path, *, mode: int = 0o600, timeout: float | None = None
    ) -> FileCopied:
        """See :meth:`dlpx_remote.transports.base.Connection.get`."""
        with self._transfer(f"{source} to {destination}", timeout) as (detail, transfer):
            copied = transfer.get(source, destination, mode=mode)
            detail.text += files.in_words(copied)
            detail.received = copied.size
            return copied

    def sync(
        self,
        source_directory: str,
        destination: Path,
        *,
        rsync_user: str | None = None,
        exclude_paths: Sequence[str] = (),
        sym_links_to_follow: Sequence[str] = (),
        delete: bool = True,
        privilege: Privilege | None = None,
        timeout: float | None = None,
        on_progress: Callable[[SyncProgress], None] | None = None,
    ) -> SyncResult:
        """See :meth:`dlpx_remote.transports.base.Connection.sync`."""
        facts = self.facts()
        if "rsync" not in facts.tools:
            raise SyncFailed(
                f"rsync is not installed on {self._where['host']}, or not on the PATH of {facts.user}.",
                "Install the package rsync there.",
                **self._where,
            )
        privilege = privilege or Privilege()
        rsync, user = facts.tools["rsync"], rsync_user or facts.user
        total = self._deadlines.total if timeout is None else timeout
        limits = files.TransferLimits(self._deadlines.idle or files.STALLED, total)
        request = SyncRequest(
            source_directory,
            destination,
            tuple(exclude_paths),
            tuple(sym_links_to_follow),
            delete,
            (*privilege.prefix(facts, user), rsync),
            limits.idle,
            total,
            on_progress,
        )
        with self._tracer.stage("transfer", self.address) as detail:
            try:
                result = sync(request, lambda: self._scripted(limits), self._where)
            except RefusedByHost as error:
                refused = Privileged(self, privilege)
                reason = reason_in(error.said) or "not allowed"
                raise refused.refusal(reason, facts, rsync, user, error.said) from error
            detail.text = f"{source_directory} to {destination}, {result.files} files"
            detail.received = result.size
            return result

    def close(self) -> None:
        """End commands that still run, then the connection. Idempotent; raises nothing."""
        again = self._closing.is_set()
        self._closing.set()
        with contextlib.nullcontext() if again else self._tracer.stage("close", self.address):
            for command in list(self._running):
                try:
                    self._end(command)
                except Exception as error:
                    _LOGGER.warning("A command on %s could not be ended: %s", self.address, error)
            self._opened.end()

    # commands

    def _facts_within(self, seconds: float) -> ShellFacts:
        if not self._facts_lock.acquire(timeout=seconds):
            raise NotSent(f"{self.address} did not answer within {seconds:g} s.", "Try again.", **self._where)
        try:
            if self._facts is None:
                result = self._execute(_Invocation(bootstrap.FACTS, Limits(seconds, None, 1 << 20)))
                self._facts = parse_facts(self._where["user"], result.stdout)
            return self._facts
        finally:
            self._facts_lock.release()

    def _facts_before_a_script(self, limits: Limits) -> ShellFacts:
        """The facts within the script's own time; a failure means that the script was not sent."""
        try:
            return self._facts_within(limits.deadline.remaining(at_most=SHELL_START) or 0.0)
        except (OutcomeUnknown, CommandEnded) as error:
            raise NotSent(
                f"{self._where['host']} gave no answer when asked about the account, so the script was not "
                f"sent: {error.message}",
                error.action if isinstance(error, CommandEnded) else "Try again.",
                error.output,
                **self._where,
            ) from error

    def _execute(self, invocation: _Invocation, on_output: OutputCallback | None = None) -> CommandResult:
        """Run on a channel within the limit of channels."""
        try:
            with self._tracer.stage("channel", self.address):
                channel = self._channels.open(invocation.limits.deadline)
        except TimeUp as error:
            raise NotSent(
                f"No free session on {self.address} in time: {self._channels.limit} commands run at once.",
                "Allow more time, or raise MaxSessions on the host.",
                **self._where,
            ) from error
        except _LOST as error:
            raise NotSent(
                f"The connection to {self._where['host']} is closed or was lost{_because(error)}.",
                "Connect again.",
                **self._where,
            ) from error
        try:
            return self._supervise(channel, invocation, on_output)
        finally:
            self._channels.close(channel)

    def _supervise(
        self, channel: paramiko.Channel, invocation: _Invocation, on_output: OutputCallback | None
    ) -> CommandResult:
        """Run, and end the processes on the host whenever this side gives up."""
        token = bootstrap.Token.new()
        command = Command(self._session, channel, token, self._where)
        self._running.add(command)
        try:
            with self._tracer.stage("run", self.address) as detail:
                result = self._converse(command, token, invocation, on_output)
                detail.text = f"exit code {result.exit_code}"
                detail.sent, detail.received = invocation.size, len(result.stdout) + len(result.stderr)
            if self._closing.is_set():
                raise self._closed(result)
            return result
        except (TimeUp, TooMuchOutput) as reason:
            raise self._given_up(command, reason, invocation.limits) from None
        except TransportError:
            raise
        except BaseException:  # the caller's callback failed, or it was interrupted
            self._end(command)
            raise
        finally:
            self._running.discard(command)

    def _converse(
        self,
        command: Command,
        token: bootstrap.Token,
        invocation: _Invocation,
        on_output: OutputCallback | None,
    ) -> CommandResult:
        text = bootstrap.watcher(token, login_shell=invocation.login_shell) + bootstrap.payload(
            token,
            invocation.script,
            invocation.variables,
            locale=invocation.locale,
            expect=invocation.expect,
            home_needed=invocation.home_needed,
        )
        command.send(text, invocation.limits)
        return command.collect(invocation.limits, on_output)

    def _given_up(self, command: Command, reason: Exception, limits: Limits) -> CommandEnded:
        killed = self._end(command)
        with contextlib.suppress(TooMuchOutput):
            command.drain(limits.max_output)
        fate = "it was ended there" if killed else "it is not confirmed that it was ended there"
        kind: type[CommandEnded] = CommandTimeout
        if isinstance(reason, TooMuchOutput):
            kind = OutputTooLarge
            what, action = f"wrote more than {limits.max_output} bytes", "Let it write less, or into a file."
        elif isinstance(reason, Idle):
            what = f"wrote nothing for {limits.idle:g} s"
            action = "Raise the idle time-out, or let it report that it works."
        else:
            what = f"did not finish within {limits.total:g} s"
            action = "Raise the time-out, or look at the host for why it takes so long."
        return kind(
            f"The command on {self._where['host']} {what}; {fate}.",
            action,
            killed=killed,
            stdout=command.stdout,
            stderr=command.stderr,
            **self._where,
        )

    def _closed(self, result: CommandResult) -> CommandEnded:
        return CommandEnded(
            f"The command on {self._where['host']} was ended because the connection was closed.",
            killed=True,
            stdout=result.stdout,
            stderr=result.stderr,
            **self._where,
        )

    def _end(self, command: Command) -> bool:
        """End a command's processes on the host, within ``ENDING``; True when none is left."""
        if command.watcher is None:
            return False
        script = bootstrap.kill_script(command.process_group, command.watcher)
        deadline = Deadline(ENDING)
        with contextlib.suppress(TransportError, TimeUp, *_LOST):
            return self._end_beside(script, Deadline(ENDING_BESIDE))
        # All sessions of this connection are in use, or it is lost or silent: a connection of its own.
        seconds = deadline.remaining() or 0.0
        try:
            with connect(self._target, deadlines=Deadlines(connect=seconds), trace=self._trace) as other:
                return other._end_beside(script, deadline)
        except (TransportError, TimeUp, *_LOST) as error:
            _LOGGER.warning("A command on %s could not be ended: %s", self.address, error)
            return False

    def _end_beside(self, script: bytes, deadline: Deadline) -> bool:
        """Run the ending script on a channel outside the limit; it is not itself ended when it takes long."""
        channel = self._channels.open_unlimited(Deadline(deadline.remaining(at_most=ENDING_ANSWER)))
        try:
            token = bootstrap.Token.new()
            command = Command(self._session, channel, token, self._where)
            invocation = _Invocation(script, Limits(deadline.remaining(), None, 1 << 16))
            return self._converse(command, token, invocation, None).stdout == b"gone\n"
        finally:
            channel.close()

    def _expect(self, facts: ShellFacts) -> str:
        if "expect" not in facts.tools:
            raise ShellUnavailable(
                f"expect is not installed on {self._where['host']}.",
                "Install the package expect there, or put it on the PATH of the account.",
                **self._where,
            )
        return facts.tools["expect"]

    @contextlib.contextmanager
    def _transfer(self, what: str, timeout: float | None) -> Iterator[tuple[StageDetail, files.Transfer]]:
        total = self._deadlines.total if timeout is None else timeout
        limits = files.TransferLimits(self._deadlines.idle or files.STALLED, total)
        with self._tracer.stage("transfer", self.address) as detail, self._scripted(limits) as script:
            detail.text = what
            yield detail, files.Transfer(script, limits, self._where)

    @contextlib.contextmanager
    def _scripted(self, limits: files.TransferLimits) -> Iterator[Scripted]:
        """A channel for a script that moves bytes."""
        deadline = Deadline(limits.total)
        try:
            channel = self._channels.open(deadline)
        except (TimeUp, *_LOST) as error:
            raise TransferFailed(
                f"No session for files on {self.address}{_because(error)}.", "Try again.", **self._where
            ) from error
        try:
            with scripted(self._session, channel, idle=limits.idle, deadline=deadline) as script:
                yield script
        finally:
            self._channels.close(channel)


def _because(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    return f": {text}" if text else ""
