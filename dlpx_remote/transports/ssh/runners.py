"""A runner on a channel: this side of the program in ``runner_script``.

It knows what the runner said of itself, which command is its last, and when its channel cannot be used for
another one. It neither decides what runs nor waits for anything.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import paramiko

from dlpx_remote.transports.limits import Limits, TimeUp
from dlpx_remote.transports.ssh import bootstrap, runner_perl, runner_script
from dlpx_remote.transports.ssh.bootstrap import Token
from dlpx_remote.transports.ssh.commands import SETTLE, Command
from dlpx_remote.transports.ssh.session import Session, SessionLost
from dlpx_remote.transports.ssh.streams import Report
from dlpx_remote.transports.ssh.wakeup import Wakeup

REMEMBERED = 600.0
"""Seconds that a runner is remembered of which the host may or may not have something."""

_LOST = (paramiko.SSHException, EOFError, OSError, SessionLost)


class NoRunner(Exception):
    """The host cannot have a runner; no command was sent. The text says why."""


class NoPerl(NoRunner):
    """The host cannot have a runner that is a perl; it may have one that is a bash."""


_BY_PERL = (b"perl", b" at - line ")
"""What a shell says that has no perl, and a perl that does not understand the program."""

Kind = Literal["perl", "bash"]
"""What a runner is."""


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
        kind: what it is to be.
        want_facts: ask for the account's facts on the way; only a bash can tell them.

    Attributes:
        refusal: why the host cannot have a runner; None while it has not said so.
        unable: why a command was not started; None for one that may have been.
        facts: ``name=value`` lines that it reported.
        usable: True when another command can be given to it.
    """

    def __init__(
        self,
        session: Session,
        channel: paramiko.Channel,
        where: dict[str, str],
        *,
        kind: Kind,
        want_facts: bool,
    ) -> None:
        self.channel = channel
        self.kind: Kind = kind
        self.refusal: str | None = None
        self.unable: str | None = None
        self.facts: list[str] = []
        self.usable = False
        self._session = session
        self._where = where
        self._want_facts = want_facts
        self._token = Token.new()
        self._name = secrets.token_hex(8)
        self._wakeup = Wakeup(channel)
        self._number = 0
        self._watcher = 0
        self._born = 0
        self._next: int | None = None
        self._command: Command | None = None
        self._said_farewell = False
        self._forgetting: dict[str, Forgotten] = {}

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

    @property
    def exec(self) -> str:
        """What the exec request holds."""
        return runner_perl.EXEC if self.kind == "perl" else bootstrap.EXEC

    def opening(self) -> bytes:
        """What has to be sent before the first command."""
        self._forgetting = FORGETTABLE.take(self._where)
        forget = tuple(f"{name}:{one.watcher}:{one.born}" for name, one in self._forgetting.items())
        if self.kind == "perl":
            return runner_perl.opening(self._token, self._name, forget=forget)
        return runner_script.opening(self._token, self._name, want_facts=self._want_facts, forget=forget)

    def start(self, limits: Limits) -> None:
        """Start it, and wait until it says that it runs; without that, its first command does.

        Raises:
            NoRunner: the host cannot have one, or says nothing within the limits.
            NoPerl: it may have one of another kind.
            NotSent: the connection was lost.
        """
        opening = self._make("W")
        try:
            opening.send(self.opening(), limits, start=self.exec, end=False)
            opening.sent = False  # no script was, whatever becomes of the connection
            if opening.wait_until_it_begins(limits, self._echoes):
                return
            repeats = opening.says(self._echoes)
            if self.kind == "perl" and not repeats and (opening.says(_BY_PERL) or self._not_found()):
                raise NoPerl("there is no perl that can be used")
        except TimeUp:
            pass
        raise self.refused("the login shell does not start it")

    def refused(self, otherwise: str) -> NoRunner:
        """The error for a host that cannot have it, with its own reason where it gave one."""
        reason = self.refusal or otherwise
        if reason.startswith(runner_perl.LACKING):
            return NoPerl(reason.removeprefix(runner_perl.LACKING))
        return NoRunner(reason)

    @property
    def _echoes(self) -> tuple[bytes, ...]:
        """What only a program says that repeats what it was given."""
        return self.exec.encode(), runner_perl.LAST if self.kind == "perl" else runner_script.LAST

    def _not_found(self) -> bool:
        """Whether the channel ended as shells have it end that cannot start a program."""
        return self.channel.status_event.wait(SETTLE) and self.channel.exit_status in (126, 127)

    def command(self, *, login_shell: bool) -> Command:
        """The next command; nothing is sent yet."""
        self.usable = False
        begins_with = "S" if login_shell else None if self.ready else "W"
        self._number += 1
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
        """Tell the host that nothing more will come, and that nothing is in doubt; raises nothing.

        Call :meth:`over` when the channel is to be closed.
        """
        self.usable = False
        if self._command is None:
            return
        with contextlib.suppress(*_LOST):
            if not self.channel.eof_received:
                self._said_farewell = self._session.send_at_once(self.channel, runner_script.FAREWELL)

    def over(self) -> None:
        """Note what the host may still have of it, and of others that it should have taken away."""
        if not self.ready:
            FORGETTABLE.add(self._where, self._forgetting)
        if self._command is not None and not (self._said_farewell and self.channel.eof_received):
            FORGETTABLE.add(self._where, {self._name: Forgotten(self._watcher, self._born)})

    def _note(self, report: Report) -> None:
        words = report.value.split()
        if report.kind == "W" and words:
            self._watcher, self._born = int(words[0]), int(words[1])
            self._next = int(words[2]) if len(words) > 2 else None
            if self._command is not None:
                self._command.process_group = self._next
            # Of a runner that never said that it runs, a file may still come.
            FORGETTABLE.add(self._where, {n: one for n, one in self._forgetting.items() if not one.watcher})
        elif report.kind == "G":
            self._forgetting.pop(report.value, None)
        elif report.kind == "F":
            self.facts.append(report.value)
        elif report.kind == "N":
            self.refusal = report.value
        elif report.kind == "X":
            self.unable = report.value
        elif report.kind == "E" and len(words) > 1:
            self.usable = words[1] == "0"
            self._next = int(words[2]) if len(words) > 2 else None


@dataclass(frozen=True)
class Forgotten:
    """A runner that nobody will ask any more.

    Attributes:
        watcher, born: see :class:`Fate`.
        since: on the monotonic clock.
    """

    watcher: int
    born: int
    since: float = field(default_factory=time.monotonic)


class Forgettable:
    """Names of runners that ended when nothing was in doubt, and that may not know it.

    The host keeps a file for whoever comes to ask, or still waits on a connection that is gone; the next
    runner on the same account sees to both.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], dict[str, Forgotten]] = {}
        self._lock = threading.Lock()

    def add(self, where: dict[str, str], forgotten: Mapping[str, Forgotten]) -> None:
        """Note some; those that were to be forgotten long ago are let go."""
        now = time.monotonic()
        fresh = {name: one for name, one in forgotten.items() if now - one.since < REMEMBERED}
        if fresh:
            with self._lock:
                self._names.setdefault(tuple(where.values()), {}).update(fresh)

    def take(self, where: dict[str, str]) -> dict[str, Forgotten]:
        """All of that account; whoever takes them sees to them, or adds them again."""
        with self._lock:
            return self._names.pop(tuple(where.values()), {})


FORGETTABLE = Forgettable()
"""Of this process."""
