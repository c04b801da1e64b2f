"""An open SSH connection: the transport's contract on top of sessions, channels and commands.

Safe for many threads: each command has a channel of its own, and the number of channels is capped by what the
host allows. What a command needs (locale, tools, home) is asked for once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping
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
    InvalidCommand,
    NotSent,
    OutputCallback,
    OutputTooLarge,
    ShellFacts,
    ShellUnavailable,
    TransportError,
)
from dlpx_remote.transports.ssh import bootstrap, files
from dlpx_remote.transports.ssh.channels import Channels
from dlpx_remote.transports.ssh.commands import Command, Idle, Limits, TooMuchOutput
from dlpx_remote.transports.ssh.connecting import Opened, open_sessions
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.facts import parse_facts, utf8_locale
from dlpx_remote.transports.ssh.session import SessionLost, TimeUp
from dlpx_remote.transports.ssh.target import SshTarget
from dlpx_remote.transports.ssh.trace import Trace, Tracer

SHELL_START = 60.0
"""Seconds that an account's start-up files may take before the first command."""

KILL = 15.0
"""Seconds for ending a command, its grace for tidying up included."""

_LOGGER = logging.getLogger("dlpx_remote.transports.ssh")


def connect(
    target: SshTarget, *, deadlines: Deadlines = Deadlines(), trace: Trace | None = None
) -> SshConnection:  # noqa: B008
    """Open a connection.

    Args:
        target: the account, and how to get in.
        deadlines: ``connect`` covers everything until the login is complete, jump hosts included.
        trace: called with every stage's start and end, from the thread that works.

    Raises:
        ConnectFailed: with the subclass that says where it stopped.
        InvalidRequest: target or ``ssh_config`` cannot be used.
    """
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
        with self._facts_lock:
            if self._facts is None:
                limits = Limits(Deadline(SHELL_START), None, 1 << 20)
                result = self._execute(bootstrap.FACTS, {}, limits, home_needed=False)
                self._facts = parse_facts(self._where["user"], result.stdout)
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
        """See :meth:`dlpx_remote.transports.base.Connection.run`."""
        if interpreter == "powershell":
            raise InvalidCommand(
                "PowerShell scripts run on Windows hosts; this connection is SSH to a Unix host.",
                "Use a bash script, or an environment of a Windows host.",
                **self._where,
            )
        data = bootstrap.check_script(script)
        total = timeout if timeout is not None else self._deadlines.total
        limits = Limits(Deadline(total), self._deadlines.idle, max_output)
        facts = self.facts()
        checked = bootstrap.check_variables(variables, linux=facts.kernel.startswith("Linux"))
        expect = self._expect(facts) if interpreter == "expect" else None
        with REDACTOR.variables(checked.values()):
            return self._execute(
                data,
                checked,
                limits,
                locale=facts.locale,
                login_shell=login_shell,
                expect=expect,
                on_output=on_output,
                seconds=total,
            )

    def put(self, source: Path, destination: str, *, mode: int = 0o600) -> None:
        """Copy a local file to ``destination`` on the host (relative to the home directory), atomically.

        Raises:
            TransferFailed: the destination is as it was before.
        """
        with self._tracer.stage("transfer", self.address) as detail, self._transfer() as transfer:
            detail.text = f"{source} to {destination}"
            transfer.put(source, destination, mode)

    def get(self, source: str, destination: Path) -> None:
        """Copy a file of the host to the local ``destination``, atomically.

        Raises:
            TransferFailed: the destination is as it was before.
        """
        with self._tracer.stage("transfer", self.address) as detail, self._transfer() as transfer:
            detail.text = f"{source} to {destination}"
            transfer.get(source, destination)

    def close(self) -> None:
        """End commands that still run, then the connection. Idempotent; raises nothing."""
        self._closing.set()
        for command in list(self._running):
            try:
                self._end(command)
            except Exception as error:
                _LOGGER.warning("A command on %s could not be ended: %s", self.address, error)
        self._opened.end()

    # commands

    def _execute(
        self,
        script: bytes,
        variables: Mapping[str, bytes],
        limits: Limits,
        *,
        locale: str | None = None,
        login_shell: bool = False,
        expect: str | None = None,
        on_output: OutputCallback | None = None,
        seconds: float | None = None,
        home_needed: bool = True,
        spare: bool = False,
    ) -> CommandResult:
        token = bootstrap.Token.new()
        text = bootstrap.watcher(token, login_shell=login_shell) + bootstrap.payload(
            token, script, variables, locale=locale, expect=expect, home_needed=home_needed
        )
        channel = self._open_channel(limits.deadline, spare=spare)
        try:
            command = Command(self._session, channel, token, self._where)
            self._running.add(command)
            try:
                with self._tracer.stage("run", self.address) as detail:
                    command.send(text, limits)
                    result = command.collect(limits, on_output)
                    detail.text = f"exit code {result.exit_code}"
                    if self._closing.is_set() and not spare:
                        raise CommandEnded(
                            f"The command on {self._where['host']} was ended because the connection was closed.",
                            killed=True,
                            stdout=result.stdout,
                            stderr=result.stderr,
                            **self._where,
                        )
                    return result
            except (TimeUp, TooMuchOutput) as reason:
                raise self._ended(command, reason, limits, seconds, spare) from None
            except TransportError:
                raise
            except BaseException:  # the caller's callback failed, or it was interrupted
                self._end(command)
                raise
            finally:
                self._running.discard(command)
        finally:
            if spare:
                channel.close()
            else:
                self._channels.close(channel)

    def _open_channel(self, deadline: Deadline, *, spare: bool) -> paramiko.Channel:
        try:
            with self._tracer.stage("channel", self.address):
                if spare:
                    return self._channels.open_unlimited(deadline)
                return self._channels.open(deadline)
        except TimeUp as error:
            raise NotSent(
                f"No free session on {self.address} in time: {self._channels.limit} commands run at once there.",
                "Allow more time, or raise MaxSessions on the host.",
                **self._where,
            ) from error
        except TransportError:
            raise
        except (paramiko.SSHException, EOFError, OSError, SessionLost) as error:
            if spare:
                raise
            raise NotSent(
                f"The connection to {self._where['host']} is closed or was lost: {str(error) or 'no reason given'}.",
                "Connect again.",
                **self._where,
            ) from error

    def _ended(
        self, command: Command, reason: Exception, limits: Limits, seconds: float | None, spare: bool
    ) -> CommandEnded:
        killed = False if spare else self._end(command)
        with contextlib.suppress(TooMuchOutput):
            command.drain(limits.max_output)
        fate = "it was ended there" if killed else "it is not confirmed that it was ended there"
        kind: type[CommandEnded] = CommandTimeout
        if isinstance(reason, TooMuchOutput):
            kind = OutputTooLarge
            message = (
                f"The command on {self._where['host']} wrote more than {limits.max_output} bytes; {fate}."
            )
            action = "Let it write less, or into a file."
        elif isinstance(reason, Idle):
            message = f"The command on {self._where['host']} wrote nothing for {limits.idle:g} s; {fate}."
            action = "Raise the idle time-out, or let it report that it works."
        else:
            took = f"within {seconds:g} s" if seconds is not None else "in time"
            message = f"The command on {self._where['host']} did not finish {took}; {fate}."
            action = "Raise the time-out, or look at the host for why it takes so long."
        return kind(
            message, action, killed=killed, stdout=command.stdout, stderr=command.stderr, **self._where
        )

    def _end(self, command: Command) -> bool:
        """End a command's processes on the host; True when none is left."""
        if command.watcher is None:
            return False
        script = bootstrap.kill_script(command.process_group, command.watcher)
        limits = Limits(Deadline(KILL), None, 1 << 16)
        try:
            return self._execute(script, {}, limits, home_needed=False, spare=True).stdout == b"gone\n"
        except (paramiko.SSHException, EOFError, OSError, SessionLost, TransportError):
            pass
        # All sessions of this connection are in use, or it is lost: a connection of its own.
        try:
            with connect(self._target, deadlines=Deadlines(connect=KILL), trace=self._trace) as other:
                return other._execute(script, {}, limits, home_needed=False).stdout == b"gone\n"
        except (TransportError, paramiko.SSHException) as error:
            _LOGGER.warning("A command on %s could not be ended: %s", self.address, error)
            return False

    def _expect(self, facts: ShellFacts) -> str:
        if "expect" not in facts.tools:
            raise ShellUnavailable(
                f"expect is not installed on {self._where['host']}.",
                "Install the package expect there, or put it on the PATH of the account.",
                **self._where,
            )
        return facts.tools["expect"]

    @contextlib.contextmanager
    def _transfer(self) -> contextlib._GeneratorContextManager[files.Transfer]:  # type: ignore[misc]
        deadline = Deadline(self._deadlines.total)
        channel = self._open_channel(deadline, spare=False)
        try:
            with files.opened(self._session, channel, self._where) as transfer:
                yield transfer
        finally:
            self._channels.close(channel)


__all__ = ["SshConnection", "connect", "utf8_locale"]
