"""An open SSH connection: the transport's contract on top of sessions, channels and commands.

Safe for many threads: each command has a channel of its own, and the number of channels is capped by what the
host allows. What a command needs (locale, tools, home) is asked for once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from dlpx_remote.redaction import REDACTOR
from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import (
    MAX_OUTPUT,
    CommandEnded,
    CommandResult,
    Deadlines,
    FileCopied,
    InvalidCommand,
    NotSent,
    OutcomeUnknown,
    OutputCallback,
    OutputLost,
    ShellFacts,
    ShellUnavailable,
    SyncFailed,
    SyncProgress,
    SyncResult,
    TransferFailed,
)
from dlpx_remote.transports.limits import Limits, TimeUp
from dlpx_remote.transports.privilege import Privilege, Privileged, reason_in
from dlpx_remote.transports.ssh import bootstrap, files
from dlpx_remote.transports.ssh.channels import Channels
from dlpx_remote.transports.ssh.connecting import Opened, open_sessions
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.execution import LOST, Execution, Invocation, because
from dlpx_remote.transports.ssh.runners import Runner
from dlpx_remote.transports.ssh.scripted import Scripted, scripted
from dlpx_remote.transports.ssh.sync import RefusedByHost, SyncRequest, sync
from dlpx_remote.transports.ssh.target import SshTarget
from dlpx_remote.transports.ssh.trace import StageDetail, Trace, Tracer

SHELL_START = 60.0
"""Seconds that an account's start-up files may take before the first command."""


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
        self._channels: Channels[Runner] = Channels(self._session, self.address)
        self._closed = False
        self._execution = Execution(
            self._session,
            self._channels,
            opened.hop,
            deadlines=deadlines,
            tracer=self._tracer,
            elsewhere=self._elsewhere,
        )

    @property
    def address(self) -> str:
        """``user@host:port`` for people."""
        return self._opened.hop.address

    @property
    def _where(self) -> dict[str, str]:
        return self._opened.hop.where

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
        return self._execution.facts(SHELL_START)

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
        abort: Abort | None = None,
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
        limits = Limits(total, self._deadlines.idle, max_output, abort)
        expect = self._expect(self._facts_before_a_script(limits)) if interpreter == "expect" else None
        checked = bootstrap.check_variables(variables, linux=lambda: self._is_linux(limits))
        invocation = Invocation(
            data, limits, variables=checked, login_shell=login_shell, expect=expect, home_needed=True
        )
        if not checked:
            return self._execution.run(invocation, on_output)
        with REDACTOR.variables(checked.values()):
            return self._execution.run(invocation, on_output)

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
        abort: Abort | None = None,
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
            abort,
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
        again, self._closed = self._closed, True
        with contextlib.nullcontext() if again else self._tracer.stage("close", self.address):
            self._execution.close()
            self._opened.end()

    def _elsewhere(self, deadlines: Deadlines) -> _Elsewhere:
        return _Elsewhere(self._target, deadlines, self._trace)

    def _facts_before_a_script(self, limits: Limits) -> ShellFacts:
        """The facts within the script's own time; a failure means that the script was not sent."""
        try:
            return self._execution.facts(limits.deadline.remaining(at_most=SHELL_START) or 0.0)
        except (OutcomeUnknown, OutputLost, CommandEnded) as error:
            raise NotSent(
                f"{self._where['host']} gave no answer when asked about the account, so the script was not "
                f"sent: {error.message}",
                error.action if isinstance(error, CommandEnded) else "Try again.",
                error.output,
                **self._where,
            ) from error

    def _is_linux(self, limits: Limits) -> bool:
        return self._facts_before_a_script(limits).kernel.startswith("Linux")

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
        self._execution.make_sure(deadline)
        try:
            channel = self._channels.open(deadline)
        except (TimeUp, *LOST) as error:
            raise TransferFailed(
                f"No session for files on {self.address}{because(error)}.", "Try again.", **self._where
            ) from error
        try:
            with scripted(self._session, channel, idle=limits.idle, deadline=deadline) as script:
                yield script
        finally:
            self._channels.close(channel)


class _Elsewhere:
    """Another connection to the same account, for a while."""

    def __init__(self, target: SshTarget, deadlines: Deadlines, trace: Trace | None) -> None:
        self._connection = connect(target, deadlines=deadlines, trace=trace)

    def __enter__(self) -> Execution:
        return self._connection._execution

    def __exit__(self, *_: object) -> None:
        self._connection.close()
