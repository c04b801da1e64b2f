"""One SSH session: paramiko's ``Transport`` with what it lacks for deadlines, idle cost and honest errors.

Everything that touches a private name of paramiko is in this module; ``tests/unit/transports`` pins each of them,
so that a release that renames one fails by name.
"""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import dataclass
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_CHANNEL_REQUEST, cMSG_SERVICE_REQUEST

from dlpx_remote.transports.ssh.deadline import Deadline

IDLE_CHECK = 10.0
"""Seconds between two wake-ups of an idle session; paramiko's own 0.1 costs 30 % of a core at 1,000 hosts."""

_LOG = "dlpx_remote.transports.ssh.wire"


class _Quieter(logging.Filter):
    """Lowers paramiko's errors to debug level: every one of them also reaches the caller as an exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.DEBUG:
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger(_LOG).isEnabledFor(logging.DEBUG)


logging.getLogger(_LOG).addFilter(_Quieter())


class SessionLost(Exception):
    """The session ended while something waited for it."""


class TimeUp(Exception):
    """A deadline passed while something waited for the peer."""


@dataclass(frozen=True)
class AuthReply:
    """The server's answer to one attempt: RFC 4252 section 5.1.

    Attributes:
        accepted: the login is complete.
        partial: this attempt succeeded, but more is asked for.
        allowed: methods that may go on.
    """

    accepted: bool
    partial: bool = False
    allowed: tuple[str, ...] = ()


class _Authentication(AuthOnlyHandler):  # type: ignore[misc]
    """Keeps the whole answer (paramiko drops the list of methods), and waits without losing a fast one."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.reply: AuthReply | None = None
        self.deadline = Deadline(None)

    def send_auth_request(self, username: str, method: str, finish_message: Any = None) -> AuthReply:
        self.auth_method = method
        self.username = username
        self.reply = None
        # Before sending: the answer may come faster than this thread gets on.
        self.auth_event = threading.Event()
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_USERAUTH_REQUEST)
        message.add_string(username)
        message.add_string("ssh-connection")
        message.add_string(method)
        if finish_message is not None:
            finish_message(message)
        self.transport._send_message(message)
        self.transport.wait_for(self.auth_event, self.deadline)
        if self.is_authenticated():
            return AuthReply(accepted=True)
        if self.reply is None:
            raise SessionLost(self.transport.farewell)
        return self.reply

    def _parse_userauth_failure(self, message: paramiko.Message) -> None:
        allowed = tuple(message.get_list())
        self.reply = AuthReply(accepted=False, partial=message.get_boolean(), allowed=allowed)
        self.authenticated = False
        if self.auth_event is not None:
            self.auth_event.set()


class Session(paramiko.ServiceRequestingTransport):  # type: ignore[misc]
    """A session over an open socket (or channel of a jump host)."""

    _active_check_timeout = IDLE_CHECK

    def __init__(self, connection: socket.socket | paramiko.Channel) -> None:
        super().__init__(connection)
        self.set_log_channel(_LOG)
        self._service_accepted = threading.Event()
        self._connection = connection
        self.farewell = ""

    # handshake

    def shake_hands(self, deadline: Deadline) -> None:
        """Exchange versions and keys.

        Raises:
            TimeUp: not within the deadline.
            Exception: whatever paramiko found wrong.
        """
        done = threading.Event()
        # Its own limits would only blur which deadline it was; ours ends the socket, which ends its thread.
        self.banner_timeout = self.handshake_timeout = deadline.remaining() or 1e6
        self.start_client(event=done)
        self.wait_for(done, deadline)

    def wait_for(self, event: threading.Event, deadline: Deadline) -> None:
        """Wait for ``event``; returns early when the session has ended without one.

        Raises:
            TimeUp: the deadline passed.
            SessionLost, or what paramiko kept as the reason: the session ended.
        """
        while not event.wait(deadline.remaining(at_most=0.5)):
            if not self.is_active():
                break
            if deadline.expired:
                raise TimeUp
        if not self.is_active():
            error = self.get_exception()
            raise error if error is not None else SessionLost(self.farewell)

    # authentication

    def _parse_service_accept(self, message: paramiko.Message) -> None:
        super()._parse_service_accept(message)
        self._service_accepted.set()

    def begin_authentication(self, deadline: Deadline) -> None:
        """Ask for the authentication service (RFC 4253 section 10)."""
        message = paramiko.Message()
        message.add_byte(cMSG_SERVICE_REQUEST)
        message.add_string("ssh-userauth")
        handler = _Authentication(self)
        handler.deadline = deadline
        self.auth_handler = handler
        self._send_message(message)
        self.wait_for(self._service_accepted, deadline)

    def ensure_session(self) -> None:
        """Nothing to do: ``begin_authentication`` has done it."""

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        message.get_int()
        self.farewell = message.get_text()

    # channels

    def request(self, channel: paramiko.Channel, kind: str, value: str) -> None:
        """Send an ``exec`` or ``subsystem`` request (RFC 4254 section 6.5) without waiting for the answer.

        ``channel.event`` is set by the answer; a refusal closes the channel.
        """
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string(kind)
        message.add_boolean(True)
        message.add_string(value)
        channel._event_pending()
        self._send_user_message(message)

    def end(self) -> None:
        """End the session and its thread. Idempotent; raises nothing."""
        try:
            # Wakes the thread out of its poll; closing alone would leave it there for IDLE_CHECK seconds.
            self._connection.shutdown(socket.SHUT_RDWR)
        except (OSError, EOFError, AttributeError):
            pass
        self.close()
        self._connection.close()
        if self.is_alive() and self is not threading.current_thread():
            self.join(5)


class Wakeup:
    """Wakes one waiting thread when either stream of a channel has data or ends.

    The buffers clear an event when they run empty; with two buffers that would lose the other's news, so
    ``clear`` does nothing and the waiting thread resets by itself.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._event = threading.Event()
        channel.in_buffer.set_event(self)
        channel.in_stderr_buffer.set_event(self)

    def set(self) -> None:
        """Called by paramiko's thread."""
        self._event.set()

    def clear(self) -> None:
        """Called by paramiko's buffers; see above."""

    def wait(self, seconds: float | None) -> bool:
        """Wait for news, and take it; False when there was none."""
        news = self._event.wait(seconds)
        self._event.clear()
        return news
