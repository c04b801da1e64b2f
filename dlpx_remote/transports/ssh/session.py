"""One SSH session: paramiko's ``Transport`` with what it lacks for deadlines, idle cost and honest errors.

Everything that touches a private name of paramiko is in this module, in ``packets`` and in ``bulk``;
``tests/unit/transports`` pins each of them, so that a release that renames one fails by name.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import (
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    MSG_SERVICE_ACCEPT,
    cMSG_CHANNEL_DATA,
    cMSG_CHANNEL_REQUEST,
    cMSG_GLOBAL_REQUEST,
    cMSG_SERVICE_REQUEST,
    cMSG_USERAUTH_REQUEST,
)
from paramiko.message import Message

from dlpx_remote.transports.base import Deadlines
from dlpx_remote.transports.limits import TimeUp
from dlpx_remote.transports.ssh.bulk import BulkPackets, Payloads, Pieces
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.packets import SessionLost, quiet

__all__ = ["AuthReply", "InteractiveAnswer", "Session", "SessionLost"]

_CTR = ("aes128-ctr", "aes192-ctr", "aes256-ctr")
_KEY_EXCHANGES: dict[str, Any] = dict(cast(Any, paramiko.Transport)._kex_info)
with contextlib.suppress(KeyError):  # where OpenSSL may only do what FIPS approves of
    # The name of RFC 8731, the only one that some servers take.
    _KEY_EXCHANGES["curve25519-sha256"] = _KEY_EXCHANGES["curve25519-sha256@libssh.org"]
_LOG = "dlpx_remote.transports.ssh.wire"

TURN = 0.5
"""Seconds that a short message may wait for longer ones of other threads."""

FRESH = 2.0
"""Seconds for which a sign of life proves that the host knows the connection: no machine restarts in less."""

InteractiveAnswer = Callable[[str, str, list[tuple[str, bool]]], list[str]]


class _Quieter(logging.Filter):
    """Lowers paramiko's errors to debug level: every one of them also reaches the caller as an exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.DEBUG:
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger(_LOG).isEnabledFor(logging.DEBUG)


logging.getLogger(_LOG).addFilter(_Quieter())


class LoginEnded(SessionLost):
    """The host ended the session when it had credentials to judge, and said why."""


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
    """Keeps the whole answer (paramiko drops the list of methods), and waits without losing a fast one.

    Args:
        session: the session to log in on.
        deadline: for all attempts together.
    """

    def __init__(self, session: Session, deadline: Deadline) -> None:
        super().__init__(session)
        self._session = session
        self.deadline = deadline
        self._reply: AuthReply | None = None

    def attempt(self, request: Callable[[], object]) -> AuthReply:
        """Make one of the inherited ``auth_…`` requests, and give the host's answer to it."""
        self._reply = None
        request()
        if self.is_authenticated():
            return AuthReply(accepted=True)
        if self._reply is None:
            raise self._session.lost()
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
        with self._session.packets.together():
            self._session.ask_for_service()
            self._session.send_now(message)
        self._session.wait_for(answered, self.deadline)
        return []

    def _parse_userauth_failure(self, message: Message) -> None:
        allowed = tuple(message.get_list())
        self._reply = AuthReply(accepted=False, partial=message.get_boolean(), allowed=allowed)
        self.authenticated = False
        if self.auth_event is not None:
            self.auth_event.set()


class Session(paramiko.Transport):
    """A session over an open socket (or channel of a jump host).

    Args:
        connection: what it runs over; ended with the session.
        alive: see ``Deadlines.alive``; holds from :meth:`watch` on.
    """

    # Hybrids that withstand quantum computers first, where paramiko has any. Then P-256: as strong as
    # Curve25519 (both 128 bits; P-256 is the one that FIPS approves of), and where OpenSSH is built with
    # OpenSSL it spares the host about 2 ms of the 16 ms of processor time of a login.
    _kex_info = _KEY_EXCHANGES
    _preferred_kex = tuple(
        name
        for name in dict.fromkeys(
            (
                *(name for name in _KEY_EXCHANGES if name.startswith(("mlkem", "sntrup"))),
                "ecdh-sha2-nistp256",
                "curve25519-sha256",
                "curve25519-sha256@libssh.org",
                *cast(Any, paramiko.Transport)._preferred_kex,
            )
        )
        if name in _KEY_EXCHANGES
    )
    # AES-GCM first: checked as it is decrypted, in one call of OpenSSL. paramiko would take AES-CTR and a MAC
    # over the plain text, which costs more and is the weaker construction; CBC and MD5 are left out.
    _preferred_ciphers = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", *_CTR)
    _preferred_macs = (
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "hmac-sha1",
    )

    def __init__(self, connection: socket.socket | paramiko.Channel, alive: float = Deadlines.alive) -> None:
        self._active_check_timeout = quiet(alive)
        super().__init__(connection, packetizer_class=cast(Any, functools.partial(BulkPackets, alive=alive)))
        self.packets = cast(BulkPackets, self.packetizer)
        self.set_log_channel(_LOG)
        self._service_asked = False
        self._service_accepted = threading.Event()
        handlers: dict[int, Callable[[Message], None]] = cast(Any, self)._handler_table
        handlers[MSG_SERVICE_ACCEPT] = self._note_service
        handlers[MSG_REQUEST_SUCCESS] = handlers[MSG_REQUEST_FAILURE] = self._note_answer
        self._questions = itertools.count(1)
        self._answers = 0
        self._asking: dict[int, threading.Event] = {}
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
        said = self.packets.first_words
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

    def _check_banner(self) -> None:
        # Our side of the key exchange is made while the server is still starting, and sent when it has named
        # its version.
        with self.packets.together():
            self._send_kex_init()
            cast(Any, super())._check_banner()

    def _send_kex_init(self) -> None:
        if cast(Any, self).local_kex_init is None:
            cast(Any, super())._send_kex_init()

    def _filter_algorithm(self, kind: str) -> tuple[str, ...]:
        """The algorithms of a kind, in their order; asked for 16 times in a handshake."""
        return cast(tuple[str, ...], getattr(self, f"_preferred_{kind}"))

    def _log(self, level: int, message: Any, *arguments: object) -> None:
        if self.logger.isEnabledFor(logging.DEBUG):
            cast(Any, super())._log(level, message, *arguments)

    def _parse_debug(self, message: Message) -> None:
        # OpenSSH sends some with every login, and it takes longer to write them for people than to log in.
        if self.logger.isEnabledFor(logging.DEBUG):
            cast(Any, super())._parse_debug(message)

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
            raise error if error is not None else self.lost()

    def lost(self) -> SessionLost:
        """The error for a session that the host has ended."""
        judging = self.farewell and self._service_accepted.is_set()
        return LoginEnded(self.farewell) if judging else SessionLost(self.farewell)

    # authentication

    def begin_authentication(self, deadline: Deadline) -> None:
        """Get ready for the offers, which share one deadline.

        The service is asked for together with the first of them, to save a round trip. RFC 4253 section 10
        allows that where the host has proved its key, as it has in every key exchange that we take part in.
        """
        self._login = _Authentication(self, deadline)
        self.auth_handler = self._login

    def ask_for_service(self) -> None:
        """Ask for the authentication service (RFC 4253 section 10), once."""
        if self._service_asked:
            return
        self._service_asked = True
        message = Message()
        message.add_byte(cMSG_SERVICE_REQUEST)
        message.add_string("ssh-userauth")
        self.send_now(message)

    def offer_nothing(self, user: str) -> AuthReply:
        """Ask which methods there are; some accounts need no more. OpenSSH does not count it as a failure."""
        login = self._logging_in()
        return login.attempt(lambda: login.send_auth_request(user, "none"))

    def offer_key(self, user: str, key: paramiko.PKey) -> AuthReply:
        """Sign with ``key``."""
        login = self._logging_in()
        if "rsa" in key.get_name():
            # How to sign is chosen from what the host says it takes (RFC 8308), which comes before this.
            self.ask_for_service()
            self.wait_for(self._service_accepted, login.deadline)
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

    def open_session(
        self, window_size: int | None = None, max_packet_size: int | None = None, timeout: float | None = None
    ) -> paramiko.Channel:
        """A channel for one command. Nothing comes over it before the command is asked for."""
        channel = super().open_session(window_size, max_packet_size, timeout)
        with channel.lock:
            channel.in_buffer, channel.in_stderr_buffer = cast(Any, Pieces()), cast(Any, Pieces())
            if channel.closed or channel.eof_received:
                channel.in_buffer.close()
                channel.in_stderr_buffer.close()
        return channel

    def send(self, channel: paramiko.Channel, data: memoryview) -> int:
        """Send as much of ``data`` as the host takes by now, at least one message of it; how much it was."""
        private = cast(Any, channel)
        with channel.lock:
            if channel.closed:
                raise OSError("the channel is closed")
            first: int = private._wait_for_send_window(len(data))
            if not first:
                return 0
            more = min(len(data) - first, channel.out_window_size)
            channel.out_window_size -= more
        most = channel.out_max_packet_size - 64
        total = first + more
        head = cMSG_CHANNEL_DATA + channel.remote_chanid.to_bytes(4, "big")
        pieces = [data[start : min(start + most, total)] for start in range(0, total, most)]
        cast(Any, self)._send_user_message(
            Payloads([(head, len(piece).to_bytes(4, "big"), piece) for piece in pieces])
        )
        return total

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
        self.packets.ask = self._ask

    def make_sure(self, deadline: Deadline) -> None:
        """See that the host still knows the connection: what is sent to one that does not may be lost unseen.

        One that has started anew says so only when it is sent something. Costs a round trip after ``FRESH``
        seconds of silence, and nothing else.

        Raises:
            TimeUp: no answer within the deadline.
            SessionLost, or what paramiko kept as the reason: the host does not, or gives no sign of life.
        """
        if time.monotonic() - self.packets.heard < FRESH:
            return
        answered = threading.Event()
        number = next(self._questions)
        self._asking[number] = answered
        try:
            cast(Any, self)._send_user_message(_question())
            self.wait_for(answered, deadline)
        finally:
            self._asking.pop(number, None)

    def _ask(self) -> None:
        if not cast(Any, self).clear_to_send.is_set():  # in a key exchange, whose next step is awaited anyway
            return
        next(self._questions)
        self.send_now(_question())

    def _note_answer(self, _message: Message) -> None:
        """Answers come in the order of the questions, and nothing else is asked (RFC 4254 section 4)."""
        self._answers += 1
        answered = self._asking.get(self._answers)
        if answered is not None:
            answered.set()

    def send_at_once(self, channel: paramiko.Channel, data: bytes) -> bool:
        """Send a few bytes of a channel's data; False when that might wait for the host, or it is gone.

        Not by way of the channel: that takes another lock before the one that writing needs, and others hold
        that one and wait for this.
        """
        message = Message()
        message.add_byte(cMSG_CHANNEL_DATA)
        message.add_int(channel.remote_chanid)
        message.add_string(data)
        sent = False

        def send() -> None:
            nonlocal sent
            if not cast(Any, self).clear_to_send.is_set():
                return
            with channel.lock:
                if channel.closed or channel.eof_sent or channel.out_window_size < len(data):
                    return
                channel.out_window_size -= len(data)
            self.send_now(message)
            sent = True

        return self.is_active() and self.packets.without_waiting(send, TURN) and sent

    def end(self) -> None:
        """End the session and its thread. Idempotent; raises nothing."""
        with contextlib.suppress(OSError, EOFError, AttributeError):
            # Wakes the thread out of its poll; closing alone would leave it there until its time-out.
            self._connection.shutdown(socket.SHUT_RDWR)
        # Closed only after: a poll that wakes up looks its descriptor's number up again, and would wait for
        # another socket that got the same number meanwhile.
        if self.is_alive() and self is not threading.current_thread():
            self.join(5)
        self.close()
        self._connection.close()


def _question() -> Message:
    """A request that every server answers, if only by refusing it (RFC 4254 section 4)."""
    message = Message()
    message.add_byte(cMSG_GLOBAL_REQUEST)
    message.add_string("keepalive@openssh.com")
    message.add_boolean(True)
    return message
