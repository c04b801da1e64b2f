"""The shell that a connection keeps open, and the connections over which its commands run.

One shell serves all commands of one account, also those that run at once, each over an HTTP connection of its
own (:class:`Wires`). It is renewed after so many commands: Windows counts a command of a text shell as open
until the shell is deleted, whether or not it was signalled (MS-WSMV, note on 3.1.4.12), so a command that has
ended is not signalled, and costs one request less. What may have been left on the host is written down as a
debt, and paid at the next opportunity.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dlpx_remote.transports.base import ConnectFailed
from dlpx_remote.transports.limits import TimeUp
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.winrm import soap
from dlpx_remote.transports.winrm.outcomes import OPERATION_TIMEOUT, Refused, Unanswered
from dlpx_remote.transports.winrm.wire import Wire

COMMANDS = 200
"""Commands of one shell, at most, before it is replaced by another."""

IDLE = 900.0
"""Seconds without a request after which the host ends the shell by itself, should we be gone."""

_SECONDS = 20.0
_LOGGER = logging.getLogger("dlpx_remote.transports.winrm")


@dataclass(eq=False)
class Shell:
    """A shell on the host.

    Attributes:
        shell_id: as the host calls it.
        running: commands that run in it.
        started: commands so far.
        retired: nothing more is started in it; it is deleted when nothing runs in it.
    """

    shell_id: str
    running: int = 0
    started: int = 0
    retired: bool = False


@dataclass(frozen=True)
class Debt:
    """Something that must be ended on the host: a command, or a whole shell where there is none."""

    shell_id: str
    command_id: str | None = None


class Shells:
    """Which shell commands go to. Safe for several threads.

    Args:
        commands: per shell; a quota of the host lowers it.
    """

    def __init__(self, commands: int = COMMANDS) -> None:
        self._lock = threading.Lock()
        self._creating = threading.Lock()
        self._current: Shell | None = None
        self._debts: list[Debt] = []
        self.commands = commands

    def enter(self, wire: Wire, deadline: Deadline) -> Shell:
        """The shell for one more command, made where there is none; :meth:`leave` must follow.

        Raises:
            Refused, Unanswered, ConnectFailed: there is no shell.
            TimeUp: somebody else's attempt took too long.
        """
        left = deadline.remaining()
        if not self._creating.acquire(timeout=-1 if left is None else left):
            raise TimeUp
        try:
            shell = self._usable()
            if shell is None:
                self.settle(wire, deadline)
                shell = self._create(wire, deadline)
            with self._lock:
                shell.running += 1
                shell.started += 1
            return shell
        finally:
            self._creating.release()

    def again(self, shell: Shell) -> None:
        """A command that runs in it already is used again; :meth:`leave` must follow."""
        with self._lock:
            shell.running += 1

    def leave(self, shell: Shell, *, started: bool = True) -> None:
        """A command has ended, or was not started after all."""
        with self._lock:
            shell.running -= 1
            shell.started -= not started
            self._owe_if_done(shell)

    def retire(self, shell: Shell) -> None:
        """Start nothing more in ``shell``, and delete it when nothing runs in it."""
        with self._lock:
            shell.retired = True
            if self._current is shell:
                self._current = None
            self._owe_if_done(shell)

    def exhausted(self, shell: Shell) -> None:
        """The host takes no more commands in ``shell``: retire it, and the next ones earlier."""
        with self._lock:
            self.commands = max(1, min(self.commands, shell.started))
        self.retire(shell)

    def forget(self, shell: Shell) -> None:
        """The host does not know it any more."""
        with self._lock:
            if self._current is shell:
                self._current = None

    def owe(self, debt: Debt) -> None:
        """Remember what must be ended on the host."""
        with self._lock:
            self._debts.append(debt)

    def give_up(self) -> None:
        """Everything is to be deleted, whatever runs in it."""
        with self._lock:
            shell, self._current = self._current, None
            if shell is not None:
                shell.retired = True
                self._debts.append(Debt(shell.shell_id))

    @property
    def kept(self) -> bool:
        """A shell is open, or something else may have been left on the host."""
        with self._lock:
            return self._current is not None or bool(self._debts)

    @property
    def owing(self) -> bool:
        """Something may have been left on the host."""
        with self._lock:
            return bool(self._debts)

    def settle(self, wire: Wire, deadline: Deadline) -> bool:
        """End what is owed; True when nothing is left. What cannot be ended now stays owed."""
        while True:
            with self._lock:
                if not self._debts:
                    return True
                debt = self._debts.pop(0)
            try:
                self._pay(debt, wire, deadline)
            except (Unanswered, ConnectFailed) as error:
                _LOGGER.info("Something on the host could not be ended yet: %s", error)
                self.owe(debt)
                return False

    def _pay(self, debt: Debt, wire: Wire, deadline: Deadline) -> None:
        seconds = deadline.remaining(at_most=_SECONDS) or _SECONDS
        if debt.command_id is None:
            request = wire.messages.delete(debt.shell_id, seconds=seconds)
        else:
            request = wire.messages.terminate(debt.shell_id, debt.command_id, seconds=seconds)
        try:
            wire.exchange(request, deadline)
        except Refused as refused:
            fault = refused.fault
            if fault.code is None or fault.is_passing or fault.code == OPERATION_TIMEOUT:
                raise Unanswered(fault.in_words, sent=True) from refused
            # Any other fault: it is gone, or not ours to end.

    def _usable(self) -> Shell | None:
        with self._lock:
            shell = self._current
        if shell is not None and shell.started >= self.commands:
            self.retire(shell)
            return None
        return shell

    def _create(self, wire: Wire, deadline: Deadline) -> Shell:
        shell_id = soap.new_id()
        seconds = deadline.remaining(at_most=_SECONDS) or _SECONDS
        request = wire.messages.create(shell_id, seconds=max(1.0, seconds), idle_timeout=IDLE)
        try:
            found = soap.read_shell_id(wire.exchange(request, deadline))
        except soap.NotUnderstood as error:
            self.owe(Debt(shell_id))
            raise Unanswered(str(error), sent=True) from error
        except Unanswered as error:
            if error.sent:
                self.owe(Debt(shell_id))
            raise
        shell = Shell(found)
        with self._lock:
            self._current = shell
        return shell

    def _owe_if_done(self, shell: Shell) -> None:
        if shell.retired and shell.running == 0:
            debt = Debt(shell.shell_id)
            self._debts = [each for each in self._debts if each.shell_id != shell.shell_id]
            self._debts.append(debt)


class WiresClosed(Exception):
    """The connection was closed."""


class Wires:
    """The HTTP connections of one account, as many as commands run at once, up to a limit.

    Args:
        make: a new one, not yet connected.
        limit: at a time.
    """

    def __init__(self, make: Callable[[], Wire], limit: int) -> None:
        self._make = make
        self._news = threading.Condition()
        self._idle: list[Wire] = []
        self._in_use = 0
        self._closed = False
        self.limit = limit

    def add(self, wire: Wire) -> None:
        """Keep an idle one that is connected already."""
        with self._news:
            self._idle.append(wire)

    @contextlib.contextmanager
    def borrow(self, deadline: Deadline) -> Iterator[Wire]:
        """One for the time of the block.

        Raises:
            TimeUp: all were in use until the deadline.
            WiresClosed: there is none any more.
        """
        wire = self._take(deadline)
        try:
            yield wire
        finally:
            with self._news:
                self._in_use -= 1
                closed = self._closed
                if not closed:
                    self._idle.append(wire)
                self._news.notify_all()
            if closed:
                wire.close()

    @property
    def others(self) -> int:
        """In use besides the caller's."""
        with self._news:
            return self._in_use - 1

    def learn(self) -> bool:
        """The host has no room for one more; False when no other is in use, so that waiting is no use."""
        with self._news:
            others = self._in_use - 1
            if others < 1:
                return False
            self.limit = min(self.limit, others)
            return True

    def spare(self) -> Wire:
        """One to close the connection with, whatever the limit; the caller closes it."""
        with self._news:
            return self._idle.pop() if self._idle else self._make()

    def close_idle(self) -> None:
        """Close the idle ones; new ones are made when they are needed."""
        with self._news:
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()

    def close(self) -> None:
        """Close the idle ones, and those in use when they are given back."""
        with self._news:
            self._closed = True
            idle, self._idle = self._idle, []
            self._news.notify_all()
        for wire in idle:
            wire.close()

    def _take(self, deadline: Deadline) -> Wire:
        with self._news:
            while not self._closed and self._in_use >= self.limit:
                if deadline.expired:
                    raise TimeUp
                self._news.wait(deadline.remaining())
            if self._closed:
                raise WiresClosed
            self._in_use += 1
            return self._idle.pop() if self._idle else self._make()
