"""A runner on a channel: this side of the program in ``runner_script``.

It knows what the runner said of itself, which command is its last, and when its channel cannot be used for
another one. It neither decides what runs nor waits for anything.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from dataclasses import dataclass

import paramiko

from dlpx_remote.transports.ssh import runner_script
from dlpx_remote.transports.ssh.bootstrap import Token
from dlpx_remote.transports.ssh.commands import Command, Limits
from dlpx_remote.transports.ssh.session import Session, SessionLost, TimeUp, Wakeup
from dlpx_remote.transports.ssh.streams import Report

_LATE = 60.0
"""Seconds after which the file of a runner that was given up has been written, if it ever is."""

_LOST = (paramiko.SSHException, EOFError, OSError, SessionLost)


class NoRunner(Exception):
    """The host cannot have a runner; no command was sent. The text says why."""


@dataclass(frozen=True)
class Fate:
    """Where it is written what became of a command.

    Attributes:
        runner: name of its runner.
        number: which of the runner's commands it is, from 1.
        watcher: the runner's process; 0 where it was not known yet.
        born: when that began, in the kernel's ticks.
    """

    runner: str
    number: int
    watcher: int
    born: int


class Runner:
    """One runner, from the opening of its channel to its end.

    Args:
        session: of the channel.
        channel: fresh and open; the caller closes it.
        where: host and user for errors.
        want_facts: ask for the account's facts on the way.

    Attributes:
        refusal: why the host cannot have a runner; None while it has not said so.
        facts: ``name=value`` lines that it reported.
        usable: True when another command can be given to it.
    """

    def __init__(
        self, session: Session, channel: paramiko.Channel, where: dict[str, str], *, want_facts: bool
    ) -> None:
        self.channel = channel
        self.refusal: str | None = None
        self.facts: list[str] = []
        self.usable = False
        self._session = session
        self._where = where
        self._want_facts = want_facts
        self._token = Token.new()
        self._name = secrets.token_hex(8)
        self._wakeup = Wakeup(channel)
        self._number = 0
        self._answered = True
        self._watcher = 0
        self._born = 0
        self._next: int | None = None
        self._command: Command | None = None

    @property
    def token(self) -> Token:
        """Of its reports."""
        return self._token

    @property
    def ready(self) -> bool:
        """True once it has said that it runs."""
        return self._watcher != 0

    @property
    def fate(self) -> Fate:
        """Where to ask for the last command."""
        return Fate(self._name, self._number, self._watcher, self._born)

    def opening(self, forget: tuple[str, ...]) -> bytes:
        """What has to be sent before the first command."""
        return runner_script.opening(self._token, self._name, want_facts=self._want_facts, forget=forget)

    def start(self, limits: Limits, forget: tuple[str, ...]) -> None:
        """Start it, and wait until it says that it runs; without that, its first command does.

        Raises:
            NoRunner: the host cannot have one, or says nothing within the limits.
            NotSent: the connection was lost.
        """
        opening = self._make("W")
        try:
            opening.send(self.opening(forget), limits, end=False)
            opening.sent = False  # no script was, whatever becomes of the connection
            if opening.wait_until_it_begins(limits):
                return
        except TimeUp:
            pass
        raise NoRunner(self.refusal or "the login shell does not start it")

    def command(self, *, login_shell: bool) -> Command:
        """The next command; nothing is sent yet."""
        self.usable = False
        begins_with = "S" if login_shell else None if self.ready else "W"
        self._number += 1
        self._answered = False
        command = self._make(begins_with)
        if self.ready:
            command.watcher, command.process_group = self._watcher, self._next
        return command

    def _make(self, begins_with: str | None) -> Command:
        self._command = Command(
            self._session,
            self.channel,
            self._token,
            self._where,
            begins_with=begins_with,
            wakeup=self._wakeup,
            on_report=self._note,
        )
        return self._command

    def retire(self) -> None:
        """Tell the host that nothing more will come, and that nothing is in doubt; raises nothing."""
        self.usable = False
        if self._command is None:
            return
        with contextlib.suppress(*_LOST):
            self.channel.settimeout(0.0)
            said = self._session.without_waiting(lambda: self.channel.send(runner_script.FAREWELL))
            if said and self._answered:
                return  # else it may never arrive
        if self._number:
            FORGETTABLE.add(self._where, self._name)

    def _note(self, report: Report) -> None:
        words = report.value.split()
        if report.kind == "W" and words:
            self._watcher, self._born, self._next = (int(word) for word in words)
            if self._command is not None:
                self._command.process_group = self._next
        elif report.kind == "F":
            self.facts.append(report.value)
        elif report.kind == "N":
            self.refusal = report.value
        elif report.kind == "E" and len(words) > 1:
            self._answered = True
            self.usable = words[1] == "0"
            self._next = int(words[2]) if len(words) > 2 else None


class Forgettable:
    """Names of runners whose connection was lost when nothing was in doubt.

    The host does not know that, and keeps a file; the next runner on the same account removes it.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], dict[str, float]] = {}
        self._lock = threading.Lock()

    def add(self, where: dict[str, str], name: str) -> None:
        """Note one."""
        with self._lock:
            self._names.setdefault(tuple(where.values()), {})[name] = time.monotonic()

    def take(self, where: dict[str, str]) -> tuple[str, ...]:
        """All of that account, to be removed; each is given out for a while, because it may come late."""
        with self._lock:
            names = self._names.get(tuple(where.values()), {})
            given = tuple(names)
            for name in given:
                if time.monotonic() - names[name] > _LATE:
                    del names[name]
            return given


FORGETTABLE = Forgettable()
"""Of this process."""
