"""How many channels a connection may have at once: begins with a guess, learns from the host's refusals.

A channel whose runner waits for the next command is *parked*: it counts as open, is the first to be taken for
a command, and gives way where its place is wanted for something else.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import paramiko

from dlpx_remote.transports.base import SessionRefused
from dlpx_remote.transports.limits import TimeUp
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.session import Session

FIRST_GUESS = 8
"""OpenSSH allows ten sessions a connection (``MaxSessions``); two stay free for ending commands."""

ANSWER = 30.0
"""Seconds that the host may take to answer the wish for a channel."""

_SETTLE = 1.0
_PAUSE = 0.02
_LOOK = 1.0
"""Seconds, at most, until one who waits for a session sees that its end was asked for."""


class Parked(Protocol):
    """What waits on an open channel for its next use."""

    @property
    def channel(self) -> paramiko.Channel:
        """Its channel."""
        ...

    def retire(self) -> None:
        """Say that nothing more will come; raises nothing."""
        ...


P = TypeVar("P", bound=Parked)


class Channels(Generic[P]):
    """Opens session channels, so many at once as the host allows; more wait their turn.

    Args:
        session: an authenticated session.
        address: for messages.

    The type is that of what is parked.
    """

    def __init__(self, session: Session, address: str) -> None:
        self._session = session
        self._address = address
        self._condition = threading.Condition()
        self._limit = FIRST_GUESS
        self._open = 0
        self._parked: list[P] = []

    def __repr__(self) -> str:
        with self._condition:
            return f"<Channels {self._open} open, {len(self._parked)} of them parked, limit {self._limit}>"

    @property
    def limit(self) -> int:
        """The limit as far as it is known."""
        return self._limit

    def open(self, deadline: Deadline) -> paramiko.Channel:
        """A channel; give it back with :meth:`close`.

        Raises:
            SessionRefused: the host allows none at all.
            TimeUp: the deadline passed while waiting.
        """
        self._claim(deadline)
        try:
            return self._try_until_refused(deadline)
        except BaseException:
            self._forget()
            raise

    def take(self, deadline: Deadline) -> P | None:
        """The one that was parked last, or None when there is room for another: then :meth:`open` one.

        Args:
            deadline: for waiting until one is parked, or there is room.

        Raises:
            TimeUp: neither within the deadline.
        """
        with self._condition:
            self._wait_for(self._free, deadline)
            if not self._parked:
                return None
            return self._parked.pop()

    def park(self, parked: P) -> None:
        """Keep an open channel for the next :meth:`take`."""
        with self._condition:
            self._parked.append(parked)
            self._condition.notify()

    def parked(self) -> list[P]:
        """All that are parked, taken away to be ended."""
        with self._condition:
            parked, self._parked = self._parked, []
            return parked

    def open_unlimited(self, deadline: Deadline) -> paramiko.Channel:
        """A channel outside the limit, for ending a command while all others are in use.

        Raises:
            paramiko.ChannelException: the host refused it.
        """
        return self._session.open_session(timeout=deadline.remaining(at_most=ANSWER))

    def close(self, channel: paramiko.Channel) -> None:
        """Close a channel of :meth:`open` and let the next one in; raises nothing."""
        _close(channel)
        self._forget()

    def _free(self) -> bool:
        return bool(self._parked) or self._open < self._limit

    def _wait_for(self, room: Callable[[], bool], deadline: Deadline) -> None:
        """Wait for room, and look now and then whether the end was asked for."""
        while not self._condition.wait_for(room, deadline.remaining(at_most=_LOOK)):
            if deadline.expired:
                raise TimeUp

    def _forget(self) -> None:
        with self._condition:
            self._open -= 1
            self._condition.notify()

    def _claim(self, deadline: Deadline) -> None:
        """Room for one more; where there is none, a parked one gives way."""
        with self._condition:
            self._wait_for(self._free, deadline)
            if self._open < self._limit:
                self._open += 1
                return
            parked = self._parked.pop(0)  # its place is ours now
        parked.retire()
        _close(parked.channel)

    def _try_until_refused(self, deadline: Deadline) -> paramiko.Channel:
        # A session that we closed counts on the host until its process is reaped: a refusal right after that
        # is no limit learned.
        settled = time.monotonic() + _SETTLE
        while True:
            try:
                return self._session.open_session(timeout=deadline.remaining(at_most=ANSWER))
            except paramiko.SSHException as error:
                # paramiko keeps one error a session: with several refusals at once some come as a bare one.
                if not self._session.is_active() or "Timeout" in str(error):
                    raise
                if deadline.expired:
                    raise TimeUp from error
                if time.monotonic() >= settled:
                    self._learn(error, deadline)
                    settled = time.monotonic() + _SETTLE
            time.sleep(_PAUSE)

    def _learn(self, error: paramiko.SSHException, deadline: Deadline) -> None:
        """Lower the limit to what the host bears, and wait for one of the others to end."""
        with self._condition:
            others = self._open - 1
            if others <= 0:
                raise SessionRefused(
                    f"{self._address} refuses every session: {error}.",
                    "Check MaxSessions in the host's sshd_config, and the account's limits.",
                ) from error
            self._limit = min(self._limit, others)
            self._wait_for(lambda: bool(self._parked) or self._open - 1 < self._limit, deadline)
            if self._open - 1 < self._limit:
                return
            parked = self._parked.pop(0)
        parked.retire()
        self.close(parked.channel)


def _close(channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()  # on a session that is lost, there is nobody to tell
