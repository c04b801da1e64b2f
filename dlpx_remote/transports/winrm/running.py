"""Carrying out one script: a wire, a place in the shell, PowerShell, and whatever can go wrong with them.

Decides what is tried again: only what the host has not begun. Every way out leaves nothing running on the
host, or writes down what is owed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dlpx_remote.transports.base import (
    CommandResult,
    ConnectFailed,
    ConnectTimeout,
    LoginLost,
    NotSent,
    OutcomeUnknown,
    OutputCallback,
    SessionRefused,
    ShellUnavailable,
    TransportError,
)
from dlpx_remote.transports.limits import Limits, TimeUp, TooMuchOutput, closed, given_up
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.trace import Tracer
from dlpx_remote.transports.winrm import bootstrap
from dlpx_remote.transports.winrm.commands import Command
from dlpx_remote.transports.winrm.errors import access_denied, no_winrm
from dlpx_remote.transports.winrm.outcomes import (
    ACCESS_DENIED,
    NOT_FOUND,
    OutOfTime,
    Refused,
    Strange,
    Unanswered,
)
from dlpx_remote.transports.winrm.shells import Debt, Shell, Shells, Wires, WiresClosed
from dlpx_remote.transports.winrm.target import WinrmTarget
from dlpx_remote.transports.winrm.wire import Wire

ENDING = 5.0
"""Seconds for ending a command or a shell on the host: a caller out of time waits for it."""

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


class Runner:
    """Runs scripts for one connection. Safe for several threads.

    Args:
        target: where to.
        wires: to run over.
        shells: to run in.
        tracer: told of every stage.
        closing: set once the connection is being closed.
        settle: as in ``Deadlines``.
    """

    def __init__(
        self,
        target: WinrmTarget,
        wires: Wires,
        shells: Shells,
        tracer: Tracer,
        *,
        closing: threading.Event,
        settle: float,
    ) -> None:
        self._target = target
        self._where = target.where
        self._wires = wires
        self._shells = shells
        self._tracer = tracer
        self._closing = closing
        self._settle = settle

    def execute(self, invocation: Invocation, on_output: OutputCallback | None) -> CommandResult:
        """Run over a wire within the limit of wires.

        Raises:
            What ``Connection.run`` raises.
        """
        deadline = invocation.limits.deadline
        while True:
            try:
                with self._wires.borrow(deadline) as wire:
                    if self._target.persistent and not invocation.stdin:
                        return self._execute_resident(wire, invocation, on_output)
                    with self._tracer.stage("channel", self._target.address):
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
            with self._tracer.stage("channel", self._target.address):
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
        command = self._command(wire, shell, resident=True)
        command.command_id = command_id
        self._shells.again(shell)
        return command, shell

    def _command(self, wire: Wire, shell: Shell, *, resident: bool) -> Command:
        return Command(
            wire,
            shell.shell_id,
            bootstrap.new_token(),
            self._where,
            settle=self._settle,
            closing=self._closing,
            resident=resident,
        )

    def _begin(self, wire: Wire, deadline: Deadline, *, resident: bool = False) -> tuple[Command, Shell]:
        """Start PowerShell in the shell: another shell where the host has lost or filled up the old one."""
        renewed = False
        busy_until = time.monotonic() + BUSY_FOR
        while True:
            if self._shells.owing:
                self._shells.settle(wire, Deadline(deadline.remaining(at_most=ENDING)))
            shell = self.enter(wire, deadline)
            command = self._command(wire, shell, resident=resident)
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

    def enter(self, wire: Wire, deadline: Deadline) -> Shell:
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
            with self._tracer.stage("run", self._target.address) as detail:
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
                raise closed(command, self._where, killed=not self._shells.owing) from error
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
        return given_up(command, reason, limits, self._where, killed=killed)

    def _end(self, shell: Shell, command: Command) -> bool:
        """End a command on the host, within ``ENDING``; where that fails, it and its shell are owed."""
        with contextlib.suppress(TimeUp):
            if command.terminate(Deadline(ENDING)):
                return True
        self._shells.owe(Debt(shell.shell_id, command.command_id))
        self._shells.retire(shell)
        return False
