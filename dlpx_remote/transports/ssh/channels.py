"""How many channels a connection may have at once: begins with a guess, learns from the host's refusals."""

from __future__ import annotations

import contextlib
import threading
import time

import paramiko

from dlpx_remote.transports.base import SessionRefused
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.session import Session, TimeUp

FIRST_GUESS = 8
"""OpenSSH allows ten sessions a connection (``MaxSessions``); two stay free for ending commands."""

ANSWER = 30.0
"""Seconds that the host may take to answer the wish for a channel."""

_SETTLE = 1.0
_PAUSE = 0.02


class Channels:
    """Opens session channels, so many at once as the host allows; more wait their turn.

    Args:
        session: an authenticated session.
        address: for messages.
    """

    def __init__(self, session: Session, address: str) -> None:
        self._session = session
        self._address = address
        self._condition = threading.Condition()
        self._limit = FIRST_GUESS
        self._open = 0

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
        with self._condition:
            if not self._condition.wait_for(lambda: self._open < self._limit, deadline.remaining()):
                raise TimeUp
            self._open += 1
        try:
            return self._try_until_refused(deadline)
        except BaseException:
            with self._condition:
                self._open -= 1
                self._condition.notify()
            raise

    def open_unlimited(self, deadline: Deadline) -> paramiko.Channel:
        """A channel outside the limit, for ending a command while all others are in use.

        Raises:
            paramiko.ChannelException: the host refused it.
        """
        return self._session.open_session(timeout=deadline.remaining(at_most=ANSWER))

    def close(self, channel: paramiko.Channel) -> None:
        """Close a channel of :meth:`open` and let the next one in; raises nothing."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.close()  # on a session that is lost, there is nobody to tell
        with self._condition:
            self._open -= 1
            self._condition.notify()

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
            if not self._condition.wait_for(lambda: self._open - 1 < self._limit, deadline.remaining()):
                raise TimeUp
