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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import REDACTOR
from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import (
    MAX_OUTPUT,
    AuthenticationFailed,
    CommandResult,
    Deadlines,
    FileCopied,
    InvalidCommand,
    NotSent,
    OutputCallback,
    ShellFacts,
    SyncFailed,
    SyncProgress,
    SyncResult,
    TransportError,
)
from dlpx_remote.transports.limits import Limits
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.trace import Trace, Tracer
from dlpx_remote.transports.winrm import bootstrap, facts, files
from dlpx_remote.transports.winrm.line import tls_context
from dlpx_remote.transports.winrm.running import Invocation, Runner
from dlpx_remote.transports.winrm.shells import Shells, Wires
from dlpx_remote.transports.winrm.target import WinrmTarget, check_target
from dlpx_remote.transports.winrm.wire import Wire

if TYPE_CHECKING:
    from dlpx_remote.transports.privilege import Privilege

FACTS_WITHIN = 60.0
"""Seconds that asking for the facts may take."""

ENDING_LOGIN = 2.0
"""Seconds for ending a shell after a login that failed: most often there is no host, and nothing to end."""

CLOSING = (2.0, 3.0)
"""Seconds for ending the shell when the connection is closed, a first time and a second."""


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
        on_use: called before each use.

    Raises:
        InvalidRequest: the target cannot be used.
    """

    def __init__(
        self,
        target: WinrmTarget,
        deadlines: Deadlines,
        trace: Trace | None,
        on_use: Callable[[], None] = lambda: None,
    ) -> None:
        check_target(target)
        self._target = target
        self._deadlines = deadlines
        self._tracer = Tracer(trace)
        self._context: ssl.SSLContext | None = None
        self._password = ""
        self._where = target.where
        self._wires = Wires(self._wire, target.at_once)
        self._shells = Shells()
        self._facts: ShellFacts | None = None
        self._facts_lock = threading.Lock()
        self._on_use = on_use
        self._use_lock = threading.Lock()
        self._users = 0
        self._last_use = time.monotonic()
        self._closing = threading.Event()
        self._runner = Runner(
            target,
            self._wires,
            self._shells,
            self._tracer,
            closing=self._closing,
            settle=deadlines.settle,
        )
        self._login = threading.Lock()
        self._logged_in = False
        self._refused: AuthenticationFailed | None = None
        self._left: list[Invocation] = []
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
        with self._in_use(), self._login:
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
                shell = self._runner.enter(wire, deadline)
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
        abort: Abort | None = None,
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
        invocation = Invocation(data, Limits(total, self._deadlines.idle, max_output, abort), checked)
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
            transfer = self._transfer(timeout)
            copied = transfer.put(source, destination, owner=owner)
            detail.sent = copied.size
            return copied

    def get(
        self, source: str, destination: Path, *, mode: int = 0o600, timeout: float | None = None
    ) -> FileCopied:
        """See :meth:`dlpx_remote.transports.base.Connection.get`."""
        with self._tracer.stage("transfer", self.address) as detail:
            detail.text = f"{source} to {destination}"
            transfer = self._transfer(timeout)
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
        abort: Abort | None = None,  # noqa: ARG002
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

    @property
    def unused_since(self) -> float | None:
        """On the monotonic clock; None while nothing is kept on the host."""
        with self._use_lock:
            if self._users:
                return time.monotonic()
            return self._last_use if self._shells.kept else None

    def rest(self) -> None:
        """End what is kept on the host, unless somebody uses it; the next use begins anew. Raises nothing."""
        with self._use_lock:
            if self._users or self._closing.is_set():
                return
            self._shells.give_up()
        with self._tracer.stage("close", self.address):
            self._end_shells(CLOSING[:1])
        self._wires.close_idle()

    def close(self) -> None:
        """End the shell with all that runs in it, then the connection. Idempotent; raises nothing."""
        if self._closing.is_set():
            return
        self._tidy()
        self._closing.set()
        self._shells.give_up()
        if self._shells.owing:
            with self._tracer.stage("close", self.address):
                # The connection at hand may be lost without our knowing it: then by another one.
                self._end_shells(CLOSING)
        self._wires.close()

    def _end_shells(self, tries: Sequence[float]) -> None:
        wire = self._wires.spare()
        any(self._shells.settle(wire, Deadline(seconds)) for seconds in tries)
        wire.close()

    # commands

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._use_lock:
            self._users += 1
        self._on_use()
        try:
            yield
        finally:
            with self._use_lock:
                self._users -= 1
                self._last_use = time.monotonic()

    def _wire(self) -> Wire:
        return Wire(self._target, self._context, self._password, self._tracer)

    def _transfer(self, timeout: float | None) -> files.Transfer:
        total = self._deadlines.total if timeout is None else timeout
        limits = Limits(total, self._deadlines.idle or files.STALLED, MAX_OUTPUT)
        return files.Transfer(self._execute, limits, self._where, self._left.append)

    def _execute(self, invocation: Invocation, on_output: OutputCallback | None) -> CommandResult:
        with self._in_use():
            self.open()
            self._tidy()
            return self._runner.execute(invocation, on_output)

    def _tidy(self) -> None:
        """Carry out what could not be carried out when its time was."""
        while self._left:
            with contextlib.suppress(IndexError):  # another thread was faster
                invocation = self._left.pop()
                try:
                    self._runner.execute(replace(invocation, limits=invocation.limits.again()), None)
                except TransportError:
                    self._left.append(invocation)
                    return
