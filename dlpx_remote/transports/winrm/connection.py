"""An open WinRM connection: the transport's contract on top of wires, shells and commands.

Safe for many threads: each command has an HTTP connection of its own, and the number of commands at a time is
capped by what the host allows. WinRM itself knows no connection, only requests; this one is open until it is
closed, and what it keeps on the host is one shell.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import REDACTOR
from dlpx_remote.transports.base import (
    MAX_OUTPUT,
    AuthenticationFailed,
    CommandEnded,
    CommandResult,
    CommandTimeout,
    ConnectFailed,
    ConnectTimeout,
    Deadlines,
    FileCopied,
    InvalidCommand,
    LoginLost,
    NotSent,
    OutcomeUnknown,
    OutputCallback,
    OutputTooLarge,
    SessionRefused,
    ShellFacts,
    ShellUnavailable,
    SyncFailed,
    SyncProgress,
    SyncResult,
    TransportError,
)
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.trace import Trace, Tracer
from dlpx_remote.transports.winrm import bootstrap, facts, files
from dlpx_remote.transports.winrm.commands import Command, Idle, Limits, TimeUp, TooMuchOutput
from dlpx_remote.transports.winrm.errors import access_denied, no_winrm
from dlpx_remote.transports.winrm.line import tls_context
from dlpx_remote.transports.winrm.outcomes import (
    ACCESS_DENIED,
    NOT_FOUND,
    OutOfTime,
    Refused,
    Strange,
    Unanswered,
)
from dlpx_remote.transports.winrm.shells import Debt, Shell, Shells, Wires, WiresClosed
from dlpx_remote.transports.winrm.target import WinrmTarget, check_target
from dlpx_remote.transports.winrm.wire import Wire

if TYPE_CHECKING:
    from dlpx_remote.transports.privilege import Privilege

FACTS_WITHIN = 60.0
"""Seconds that asking for the facts may take."""

ENDING = 5.0
"""Seconds for ending a command or a shell on the host: a caller out of time waits for it."""

ENDING_LOGIN = 2.0
"""The same after a login that failed: most often there is no host, and nothing to end."""

CLOSING = (2.0, 3.0)
"""The same for closing, a first time and a second."""

BUSY_FOR = 10.0
"""Seconds for which a host that is busy is asked again to start a command."""

_PAUSE = 0.1


@dataclass(frozen=True)
class Invocation:
    """What to run, and how; already checked.

    Attributes:
        stdin: for the script to read, each piece in one Send or more; lines of ASCII.
    """

    script: bytes
    limits: Limits
    variables: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    stdin: Iterable[bytes] = ()


class _NoRoom(Exception):
    """The host starts no more commands at once; wait until another one has ended."""


def connect(
    target: WinrmTarget, *, deadlines: Deadlines | None = None, trace: Trace | None = None
) -> WinrmConnection:
    """Open a connection: log in, and open the shell.

    Args:
        target: the account, and how to get in.
        deadlines: ``connect`` covers everything until the shell is open; None takes the defaults.
        trace: called with every stage's start and end, from the thread that works.

    Raises:
        ConnectFailed: with the subclass that says where it stopped.
        SessionRefused: the host has no room for another shell.
        InvalidRequest: target or CA file cannot be used.
    """
    connection = WinrmConnection(target, deadlines or Deadlines(), trace)
    connection.open()
    return connection


class WinrmConnection:
    """Implements :class:`dlpx_remote.transports.base.Connection`; made by :func:`connect`.

    One that is made directly logs in when it is first needed. A login that was refused is not tried again.

    Args:
        target: the account, and how to get in.
        deadlines: of everything.
        trace: called with every stage's start and end.

    Raises:
        InvalidRequest: the target cannot be used.
    """

    def __init__(self, target: WinrmTarget, deadlines: Deadlines, trace: Trace | None) -> None:
        check_target(target)
        self._target = target
        self._deadlines = deadlines
        self._tracer = Tracer(trace)
        self._context: ssl.SSLContext | None = None
        self._password = ""
        self._where = {"host": target.host, "user": target.user}
        self._wires = Wires(self._wire, target.at_once)
        self._shells = Shells()
        self._facts: ShellFacts | None = None
        self._facts_lock = threading.Lock()
        self._closing = threading.Event()
        self._login = threading.Lock()
        self._logged_in = False
        self._refused: AuthenticationFailed | None = None
        self._failure: RemoteError | None = None
        self._failures = 0

    @property
    def address(self) -> str:
        """``user@host:port`` for people."""
        return self._target.address

    @property
    def is_open(self) -> bool:
        """False once the connection is closed."""
        return self._logged_in and not self._closing.is_set()

    @property
    def at_once(self) -> int:
        """Commands that may run at a time; lower than asked for once the host refused more."""
        return self._wires.limit

    def __repr__(self) -> str:
        return f"<WinrmConnection {self.address} {'open' if self.is_open else 'closed'}>"

    def __enter__(self) -> WinrmConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> bool:
        """Log in and open the shell, unless that was done already; True when this call did.

        Of several threads one does, and all hear of it when it fails.

        Raises:
            What :func:`connect` raises.
        """
        if self._logged_in:
            return False
        seen = self._failures
        with self._login:
            if self._logged_in:
                return False
            if self._closing.is_set():
                raise NotSent(
                    f"The connection to {self._target.host} is closed.", "Connect again.", **self._where
                )
            if self._refused is not None:
                raise self._refused
            if self._failure is not None and self._failures != seen:
                raise self._failure  # of the attempt that this thread waited for
            try:
                self._log_in()
            except RemoteError as error:
                self._failure, self._failures = error, self._failures + 1
                if isinstance(error, AuthenticationFailed):
                    self._refused = error
                raise
            self._logged_in = True
            return True

    def _log_in(self) -> None:
        seconds = self._deadlines.connect
        if self._target.scheme == "https":
            self._context = tls_context(self._target)
        if self._target.password is not None and self._target.authentication in ("ntlm", "basic"):
            self._password = self._target.password()
        deadline = Deadline(seconds)
        wire = self._wire()
        try:
            with self._tracer.stage("auth", self.address) as detail:
                detail.text = self._target.authentication
                shell = self._enter(wire, deadline)
                self._shells.leave(shell, started=False)
        except BaseException:
            if self._shells.owing:
                self._shells.settle(wire, Deadline(ENDING_LOGIN))
            wire.close()
            raise
        self._wires.add(wire)

    def facts(self) -> ShellFacts:
        """Facts about the account and host, asked for once and then kept.

        Raises:
            The same as :meth:`run`.
        """
        with self._facts_lock:
            if self._facts is None:
                limits = Limits(FACTS_WITHIN, None, 1 << 20)
                result = self._execute(Invocation(facts.SCRIPT.encode(), limits), None)
                self._facts = facts.parse_facts(self._target.user, result.stdout)
            return self._facts

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
        """See :meth:`dlpx_remote.transports.base.Connection.run`; only ``powershell`` can run here."""
        if interpreter != "powershell":
            kind = "Expect" if interpreter == "expect" else "Bash"
            raise InvalidCommand(
                f"{kind} scripts run on Unix hosts; {self._target.host} is a Windows host.",
                "Use a PowerShell script, or an environment of a Unix host.",
                **self._where,
            )
        if login_shell:
            raise InvalidCommand(
                "A login shell has no meaning on a Windows host.",
                "Leave it out; a script that needs the account's profile can run it: . $PROFILE",
                **self._where,
            )
        data = bootstrap.check_script(script)
        checked = bootstrap.check_variables(variables)
        total = timeout if timeout is not None else self._deadlines.total
        invocation = Invocation(data, Limits(total, self._deadlines.idle, max_output), checked)
        with REDACTOR.variables(checked.values()):
            return self._execute(invocation, on_output)

    def put(
        self,
        source: Path,
        destination: str,
        *,
        mode: int = 0o600,  # noqa: ARG002  # Windows has none: the folder's permissions are inherited
        owner: str = "",
        timeout: float | None = None,
    ) -> FileCopied:
        """See :meth:`dlpx_remote.transports.base.Connection.put`; ``mode`` has no meaning on Windows."""
        with self._tracer.stage("transfer", self.address) as detail:
            detail.text = f"{source} to {destination}"
            transfer = files.Transfer(self._execute, self._limits(timeout), self._where)
            copied = transfer.put(source, destination, owner=owner)
            detail.sent = copied.size
            return copied

    def get(
        self, source: str, destination: Path, *, mode: int = 0o600, timeout: float | None = None
    ) -> FileCopied:
        """See :meth:`dlpx_remote.transports.base.Connection.get`."""
        with self._tracer.stage("transfer", self.address) as detail:
            detail.text = f"{source} to {destination}"
            transfer = files.Transfer(self._execute, self._limits(timeout), self._where)
            copied = transfer.get(source, destination, mode=mode)
            detail.received = copied.size
            return copied

    def sync(
        self,
        source_directory: str,
        destination: Path,  # noqa: ARG002
        *,
        rsync_user: str | None = None,  # noqa: ARG002
        exclude_paths: Sequence[str] = (),  # noqa: ARG002
        sym_links_to_follow: Sequence[str] = (),  # noqa: ARG002
        delete: bool = True,  # noqa: ARG002
        privilege: Privilege | None = None,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        on_progress: Callable[[SyncProgress], None] | None = None,  # noqa: ARG002
    ) -> SyncResult:
        """Windows has no rsync.

        Raises:
            SyncFailed: always.
        """
        raise SyncFailed(
            f"{source_directory} on {self._target.host} cannot be copied with rsync: it is a Windows host.",
            "Copy single files, or let the plugin copy with PowerShell.",
            **self._where,
        )

    def close(self) -> None:
        """End the shell with all that runs in it, then the connection. Idempotent; raises nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._shells.give_up()
        if self._shells.owing:
            with self._tracer.stage("close", self.address):
                wire = self._wires.spare()
                # The connection at hand may be lost without our knowing it: then by another one.
                any(self._shells.settle(wire, Deadline(seconds)) for seconds in CLOSING)
                wire.close()
        self._wires.close()

    # commands

    def _wire(self) -> Wire:
        return Wire(self._target, self._context, self._password, self._tracer)

    def _limits(self, timeout: float | None) -> Limits:
        total = self._deadlines.total if timeout is None else timeout
        return Limits(total, self._deadlines.idle or files.STALLED, MAX_OUTPUT)

    def _execute(self, invocation: Invocation, on_output: OutputCallback | None) -> CommandResult:
        """Run over a wire within the limit of wires."""
        self.open()
        deadline = invocation.limits.deadline
        while True:
            try:
                with self._wires.borrow(deadline) as wire:
                    if self._target.persistent and not invocation.stdin:
                        return self._execute_resident(wire, invocation, on_output)
                    with self._tracer.stage("channel", self.address):
                        command, shell = self._begin(wire, deadline)
                    return self._supervise(command, shell, invocation, on_output)
            except _NoRoom:
                continue
            except WiresClosed:
                raise NotSent(
                    f"The connection to {self._target.host} is closed.", "Connect again.", **self._where
                ) from None
            except TimeUp as error:
                raise NotSent(
                    f"The script was not sent to {self._target.host} in time: {self._wires.limit} commands "
                    "run at once, or the host does not answer.",
                    "Allow more time.",
                    **self._where,
                ) from error

    def _execute_resident(
        self, wire: Wire, invocation: Invocation, on_output: OutputCallback | None
    ) -> CommandResult:
        """Run in the process that waits for a script of this wire; in another one where it has died."""
        while True:
            waiting = self._waiting(wire)
            with self._tracer.stage("channel", self.address):
                command, shell = waiting or self._begin(wire, invocation.limits.deadline, resident=True)
            try:
                result = self._supervise(command, shell, invocation, on_output)
            except (NotSent, ShellUnavailable):
                if waiting is None or command.sent or self._closing.is_set():
                    raise
                continue
            if not command.over:
                wire.resident = (shell, command.command_id)
            return result

    def _waiting(self, wire: Wire) -> tuple[Command, Shell] | None:
        resident, wire.resident = wire.resident, None
        if resident is None or resident[0].retired:
            return None
        shell, command_id = resident
        command = Command(wire, shell.shell_id, bootstrap.new_token(), self._where, resident=True)
        command.command_id = command_id
        self._shells.again(shell)
        return command, shell

    def _begin(self, wire: Wire, deadline: Deadline, *, resident: bool = False) -> tuple[Command, Shell]:
        """Start PowerShell in the shell: another shell where the host has lost or filled up the old one."""
        renewed = False
        busy_until = time.monotonic() + BUSY_FOR
        while True:
            if self._shells.owing:
                self._shells.settle(wire, Deadline(deadline.remaining(at_most=ENDING)))
            shell = self._enter(wire, deadline)
            token = bootstrap.new_token()
            command = Command(wire, shell.shell_id, token, self._where, resident=resident)
            alone = self._wires.others == 0
            try:
                command.begin(deadline)
                return command, shell
            except Refused as refused:
                self._shells.leave(shell, started=False)
                fault = refused.fault
                if fault.is_quota and not fault.is_hurry and (self._wires.learn() or not alone):
                    raise _NoRoom from refused
                self._help(refused, shell, renewed=renewed, busy_until=busy_until)
                renewed = renewed or not fault.is_hurry
            except Unanswered as error:
                # PowerShell may wait there for its script: end it with its shell.
                self._shells.retire(shell)
                self._shells.leave(shell, started=False)
                self._shells.settle(wire, Deadline(ENDING))
                if isinstance(error, OutOfTime) and deadline.expired:
                    raise TimeUp from error
                raise NotSent(
                    f"The connection to {self._target.host} was lost before the script was sent: "
                    f"{error.reason}.",
                    "Try again.",
                    **self._where,
                ) from error
            except BaseException:
                self._shells.leave(shell, started=False)
                raise

    def _help(self, refused: Refused, shell: Shell, *, renewed: bool, busy_until: float) -> None:
        """The host did not start the only command: return where trying again helps.

        Raises:
            NotSent: where it does not.
        """
        fault = refused.fault
        if fault.code == NOT_FOUND and not renewed:
            self._shells.forget(shell)
        elif fault.is_hurry and time.monotonic() < busy_until:
            time.sleep(_PAUSE)
        elif fault.is_quota and shell.started > 0 and not renewed:
            self._shells.exhausted(shell)
        else:
            raise self._no_session(refused, "start a command") from refused

    def _enter(self, wire: Wire, deadline: Deadline) -> Shell:
        """A place in the shell.

        Raises:
            ConnectFailed, SessionRefused, TimeUp: nothing has run.
        """
        try:
            return self._shells.enter(wire, deadline)
        except Refused as refused:
            if refused.fault.code == ACCESS_DENIED:
                raise access_denied(self._target, refused.fault.in_words) from refused
            raise self._no_session(refused, "open a shell") from refused
        except OutOfTime as error:
            raise ConnectTimeout(
                f"{self._target.host} did not open a shell in time: {error.reason}.",
                "See whether the host is overloaded; or raise the connect time-out.",
                **self._where,
            ) from error
        except Unanswered as error:
            if isinstance(error, Strange) and not wire.proven:
                raise no_winrm(self._target, error.reason) from error
            raise LoginLost(
                f"The connection to {self._target.host} was lost while a shell was opened for "
                f"{self._target.user}: {error.reason}.",
                "Try again; look into the host's event log if it happens again.",
                **self._where,
            ) from error

    def _no_session(self, refused: Refused, what: str) -> TransportError:
        if refused.fault.is_passing:
            return SessionRefused(
                f"{self._target.host} does not {what} for {self._target.user}: {refused.fault.in_words}.",
                "Close what else the account has open there, or raise the quota (winrm/config/winrs).",
                **self._where,
            )
        return ConnectFailed(
            f"{self._target.host} does not {what} for {self._target.user}: {refused.fault.in_words}.",
            "Look into the host's event log (Microsoft-Windows-WinRM/Operational).",
            **self._where,
        )

    def _supervise(
        self, command: Command, shell: Shell, invocation: Invocation, on_output: OutputCallback | None
    ) -> CommandResult:
        """Send, listen, and end the command on the host whenever this side gives up."""
        limits = invocation.limits
        frame = bootstrap.frame(command.token, invocation.script, invocation.variables)
        try:
            with self._tracer.stage("run", self.address) as detail:
                command.send(frame, invocation.stdin, limits)
                result = command.collect(limits, on_output)
                detail.text = f"exit code {result.exit_code}"
                detail.sent = len(frame)
                detail.received = len(result.stdout) + len(result.stderr)
            return result
        except (TimeUp, TooMuchOutput) as reason:
            raise self._given_up(shell, command, reason, limits) from None
        except (NotSent, OutcomeUnknown) as error:
            if self._closing.is_set() and command.sent:
                raise self._closed(command) from error
            self._end(shell, command)
            raise
        except TransportError:
            raise
        except BaseException:  # the caller's callback failed, or it was interrupted
            self._end(shell, command)
            raise
        finally:
            self._shells.leave(shell)

    def _given_up(self, shell: Shell, command: Command, reason: Exception, limits: Limits) -> TransportError:
        killed = self._end(shell, command)
        if not command.sent:
            return NotSent(
                f"The script was not sent to {self._target.host} within {limits.total or 0.0:g} s.",
                "Allow more time.",
                **self._where,
            )
        fate = "it was ended there" if killed else "it is not confirmed that it was ended there"
        kind: type[CommandEnded] = CommandTimeout
        if isinstance(reason, TooMuchOutput):
            kind = OutputTooLarge
            what, action = f"wrote more than {limits.max_output} bytes", "Let it write less, or into a file."
        elif isinstance(reason, Idle):
            what = f"wrote nothing for {limits.idle:g} s"
            action = "Raise the idle time-out, or let it report that it works."
        else:
            what = f"did not finish within {limits.total or 0.0:g} s"
            action = "Raise the time-out, or look at the host for why it takes so long."
        return kind(
            f"The command on {self._target.host} {what}; {fate}.",
            action,
            killed=killed,
            stdout=command.stdout,
            stderr=command.stderr,
            **self._where,
        )

    def _closed(self, command: Command) -> CommandEnded:
        return CommandEnded(
            f"The command on {self._target.host} was ended because the connection was closed.",
            killed=not self._shells.owing,
            stdout=command.stdout,
            stderr=command.stderr,
            **self._where,
        )

    def _end(self, shell: Shell, command: Command) -> bool:
        """End a command on the host, within ``ENDING``; where that fails, it and its shell are owed."""
        with contextlib.suppress(TimeUp):
            if command.terminate(Deadline(ENDING)):
                return True
        self._shells.owe(Debt(shell.shell_id, command.command_id))
        self._shells.retire(shell)
        return False
