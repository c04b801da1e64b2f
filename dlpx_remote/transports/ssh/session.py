"""One SSH session: paramiko's ``Transport`` with what it lacks for deadlines, idle cost and honest errors.

Everything that touches a private name of paramiko is in this module; ``tests/unit/transports`` pins each of
them, so that a release that renames one fails by name.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import (
    MSG_SERVICE_ACCEPT,
    cMSG_CHANNEL_REQUEST,
    cMSG_GLOBAL_REQUEST,
    cMSG_SERVICE_REQUEST,
    cMSG_USERAUTH_REQUEST,
)
from paramiko.message import Message
from paramiko.packet import Packetizer

from dlpx_remote.transports.base import Deadlines
from dlpx_remote.transports.ssh.deadline import Deadline

PROMPT = 32
"""Messages that are acknowledged at once: OpenSSH's side waits for acknowledgements (Nagle) until the first
command runs, and ours would come 40 ms late (tcp(7), TCP_QUICKACK)."""

_QUICK: int | None = getattr(socket, "TCP_QUICKACK", None)

_LOG = "dlpx_remote.transports.ssh.wire"

InteractiveAnswer = Callable[[str, str, list[tuple[str, bool]]], list[str]]


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


class _Authentication(AuthOnlyHandler):
    """Keeps the whole answer (paramiko drops the list of methods), and waits without losing a fast one."""

    def __init__(self, session: Session, deadline: Deadline) -> None:
        super().__init__(session)
        self._session = session
        self._deadline = deadline
        self._reply: AuthReply | None = None

    def attempt(self, request: Callable[[], object]) -> AuthReply:
        """Make one of the inherited ``auth_…`` requests, and give the host's answer to it."""
        self._reply = None
        request()
        if self.is_authenticated():
            return AuthReply(accepted=True)
        if self._reply is None:
            raise SessionLost(self._session.farewell)
        return self._reply

    def send_auth_request(
        self, username: str, method: str, finish_message: Callable[[Message], object] | None = None
    ) -> list[str]:
        self.auth_method = method
        self.username = username
        # Before sending: the answer may come faster than this thread gets on.
        answered = self.auth_event = threading.Event()
        message = Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        message.add_string(username)
        message.add_string("ssh-connection")
        message.add_string(method)
        if finish_message is not None:
            finish_message(message)
        self._session.send_now(message)
        self._session.wait_for(answered, self._deadline)
        return []

    def _parse_userauth_failure(self, message: Message) -> None:
        allowed = tuple(message.get_list())
        self._reply = AuthReply(accepted=False, partial=message.get_boolean(), allowed=allowed)
        self.authenticated = False
        if self.auth_event is not None:
            self.auth_event.set()


class _Packetizer(Packetizer):
    """Reads and writes messages, and notices a host that falls silent.

    It has no timer of the handshake: our deadline ends it, and a failed one would leave its thread.

    Args:
        connection: what is read and written.
        alive: seconds; see ``Deadlines.alive``. An idle session wakes up only when two thirds of it are over
            (paramiko's own ten times a second cost 30 % of a core at 1,000 hosts).
    """

    def __init__(self, connection: Any, alive: float) -> None:
        super().__init__(connection)
        self._connection = connection
        self._prompt = PROMPT if isinstance(connection, socket.socket) and _QUICK is not None else 0
        self._alive = alive
        self._asked = False
        self.ask: Callable[[], None] | None = None
        self.first_words = ""
        connection.settimeout(quiet(alive))

    def start_handshake(self, timeout: float) -> None:
        pass

    def readline(self, timeout: float) -> str:
        line = super().readline(timeout)
        self.first_words = line
        return line

    def read_message(self) -> tuple[int, Message]:
        if self._prompt:
            self._prompt -= 1
            with contextlib.suppress(OSError):  # no TCP socket
                self._connection.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)
        message = super().read_message()
        if self._asked:
            self._asked = False
            self._connection.settimeout(quiet(self._alive))
        return message

    def _check_keepalive(self) -> None:
        """Called in the session's own thread when nothing came for as long as the connection's time-out."""
        if self.ask is None:
            return
        if self._asked:
            raise SessionLost(f"the host has given no sign of life for {self._alive:g} s")
        self._asked = True
        self._connection.settimeout(self._alive - quiet(self._alive))
        lock = cast(Any, self)._Packetizer__write_lock
        # Where another thread is stuck in writing, that is question enough; this one must go on listening.
        if lock.acquire(blocking=False):
            try:
                if self._takes_more():
                    self.ask()
            finally:
                lock.release()

    def _takes_more(self) -> bool:
        if isinstance(self._connection, paramiko.Channel):
            return self._connection.send_ready()
        poll = select.poll()
        poll.register(self._connection, select.POLLOUT)
        return bool(poll.poll(0))


def quiet(alive: float) -> float:
    """Seconds of silence after which the host is asked for a sign of life."""
    return alive * 2 / 3


class Session(paramiko.Transport):
    """A session over an open socket (or channel of a jump host).

    Args:
        connection: what it runs over; ended with the session.
        alive: see ``Deadlines.alive``; holds from :meth:`watch` on.
    """

    def __init__(self, connection: socket.socket | paramiko.Channel, alive: float = Deadlines.alive) -> None:
        self._active_check_timeout = quiet(alive)
        super().__init__(connection, packetizer_class=cast(Any, functools.partial(_Packetizer, alive=alive)))
        self.set_log_channel(_LOG)
        self._service_accepted = threading.Event()
        handlers: dict[int, Callable[[Message], None]] = cast(Any, self)._handler_table
        handlers[MSG_SERVICE_ACCEPT] = self._note_service
        self._connection = connection
        self._login: _Authentication | None = None
        self.farewell = ""
        self.certificates_first = False

    # handshake

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Algorithms for the host key in our order; paramiko puts certificates last, and never gets one."""
        plain = tuple(cast(Any, self)._preferred_keys)
        if not self.certificates_first:
            return plain
        return (*(f"{name}-cert-v01@openssh.com" for name in plain), *plain)

    @property
    def turned_away(self) -> Literal["no", "perhaps", "surely"]:
        """Whether a failed handshake failed because the server had too many under way (``MaxStartups``).

        OpenSSH closes the connection instead of naming its version, newer ones with a word of explanation.
        """
        if self.remote_version:
            return "no"
        said = cast(_Packetizer, self.packetizer).first_words
        if "MaxStartups" in said:
            return "surely"
        return "no" if said else "perhaps"

    def shake_hands(self, deadline: Deadline) -> None:
        """Exchange versions and keys.

        Raises:
            TimeUp: not within the deadline.
            Exception: whatever paramiko found wrong.
        """
        done = threading.Event()
        # Its own limit would only blur which deadline it was; ours ends the socket, which ends its thread.
        self.banner_timeout = 1e6
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

    def begin_authentication(self, deadline: Deadline) -> None:
        """Ask for the authentication service (RFC 4253 section 10)."""
        self._login = _Authentication(self, deadline)
        self.auth_handler = self._login
        message = Message()
        message.add_byte(cMSG_SERVICE_REQUEST)
        message.add_string("ssh-userauth")
        self.send_now(message)
        self.wait_for(self._service_accepted, deadline)

    def offer_nothing(self, user: str) -> AuthReply:
        """Ask which methods there are; some accounts need no more. OpenSSH does not count it as a failure."""
        login = self._logging_in()
        return login.attempt(lambda: login.send_auth_request(user, "none"))

    def offer_key(self, user: str, key: paramiko.PKey) -> AuthReply:
        """Sign with ``key``."""
        login = self._logging_in()
        return login.attempt(lambda: login.auth_publickey(user, key))

    def offer_password(self, user: str, password: str) -> AuthReply:
        """Send the password."""
        login = self._logging_in()
        return login.attempt(lambda: login.auth_password(user, password))

    def offer_answers(self, user: str, answer: InteractiveAnswer) -> AuthReply:
        """Let ``answer`` answer the host's questions (RFC 4256)."""
        login = self._logging_in()
        return login.attempt(lambda: login.auth_interactive(user, answer))

    def _logging_in(self) -> _Authentication:
        if self._login is None:
            raise SessionLost("the login has not begun")
        return self._login

    def _note_service(self, _message: Message) -> None:
        self._service_accepted.set()

    def _parse_disconnect(self, message: Message) -> None:
        message.get_int()
        self.farewell = message.get_text()

    # channels

    def request(self, channel: paramiko.Channel, kind: str, value: str) -> None:
        """Send an ``exec`` or ``subsystem`` request (RFC 4254 section 6.5) without waiting for the answer.

        ``channel.event`` is set by the answer; a refusal closes the channel.
        """
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string(kind)
        message.add_boolean(True)
        message.add_string(value)
        cast(Any, channel)._event_pending()
        cast(Any, self)._send_user_message(message)

    def send_now(self, message: Message) -> None:
        """Send, also before the login is complete."""
        cast(Any, self)._send_message(message)

    def watch(self) -> None:
        """From now on the session is lost when the host gives no sign of life."""
        cast(_Packetizer, self.packetizer).ask = self._ask

    def _ask(self) -> None:
        """A request that every server answers, if only by refusing it (RFC 4254 section 4)."""
        if not cast(Any, self).clear_to_send.is_set():  # in a key exchange, whose next step is awaited anyway
            return
        message = Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self.send_now(message)

    def end(self) -> None:
        """End the session and its thread. Idempotent; raises nothing."""
        with contextlib.suppress(OSError, EOFError, AttributeError):
            # Wakes the thread out of its poll; closing alone would leave it there until its time-out.
            self._connection.shutdown(socket.SHUT_RDWR)
        # Closed only after: a poll that wakes up looks its descriptor's number up again, and would wait on for
        # another socket that got the same number meanwhile.
        if self.is_alive() and self is not threading.current_thread():
            self.join(5)
        self.close()
        self._connection.close()


class Wakeup:
    """Wakes one waiting thread when either stream of a channel has data or ends.

    The buffers clear an event when they run empty; with two buffers that would lose the other's news, so
    ``clear`` does nothing and the waiting thread resets by itself.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._event = threading.Event()
        for buffer in (channel.in_buffer, channel.in_stderr_buffer):
            buffer.set_event(cast(threading.Event, self))

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
