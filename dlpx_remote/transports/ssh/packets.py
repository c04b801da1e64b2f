"""The messages of a session on their way: read and written with few system calls, bounded, and watched.

Replaces the parts of paramiko's ``Packetizer`` that cost a connection time: it reads every message with two
system calls, compares checksums byte by byte in Python, and starts a timer thread for each handshake. What it
relies on of paramiko's private names is pinned by ``tests/unit/transports``. Knows nothing of logins.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import paramiko
from cryptography.exceptions import InvalidTag
from paramiko.message import Message
from paramiko.packet import NeedRekeyException, Packetizer

PROMPT = 32
"""Readings that are acknowledged at once: OpenSSH's side waits for acknowledgements (Nagle) until the first
command runs, and ours would come 40 ms late (tcp(7), TCP_QUICKACK)."""

_QUICK: int | None = getattr(socket, "TCP_QUICKACK", None)

AHEAD = 8192
"""Bytes read at once, so that small messages come whole; the rest of a big one is read straight after."""

LONGEST_MESSAGE = 1 << 20
"""Bytes; OpenSSH's own limit is 256 KiB (``PACKET_MAX_SIZE``). A length above it is none, and must neither be
waited for nor kept."""

LONGEST_LINE = 8192
"""Bytes of a line before the handshake; RFC 4253 section 4.2 allows 255 for the version."""

_Heard = TypeVar("_Heard", bytes, int)


class SessionLost(Exception):
    """The session ended while something waited for it."""


def quiet(alive: float) -> float:
    """Seconds of silence after which the host is asked for a sign of life."""
    return alive * 2 / 3


class Packets(Packetizer):
    """Reads and writes messages, and notices a host that falls silent.

    It has no timer of the handshake: our deadline ends it, and a failed one would leave its thread.

    Args:
        connection: what is read and written.
        alive: seconds; see ``Deadlines.alive``. An idle session wakes up only when two thirds of it are over
            (paramiko's own ten times a second cost 30 % of a core at 1,000 hosts).

    Attributes:
        ask: asks the host for a sign of life; None as long as it is not to be asked.
        first_words: the first line that came.
        heard: when something came last, on the monotonic clock.
    """

    def __init__(self, connection: Any, alive: float) -> None:
        super().__init__(connection)
        self._connection = connection
        self._prompt = PROMPT if isinstance(connection, socket.socket) and _QUICK is not None else 0
        self._alive = alive
        self._asked = False
        self._received = b""
        self._held: list[bytes] | None = None
        self._writing = cast(Any, self)._Packetizer__write_lock
        self.ask: Callable[[], None] | None = None
        self.first_words = ""
        self.heard = time.monotonic()
        connection.settimeout(quiet(alive))

    def start_handshake(self, timeout: float) -> None:
        """No timer; see above."""

    # reading

    def readline(self, timeout: float) -> str:  # noqa: ARG002  our deadlines are not paramiko's
        """A line before the handshake, without its end."""
        while b"\n" not in self._received:
            if len(self._received) > LONGEST_LINE:
                raise paramiko.SSHException("there is no end to its first line")
            self._receive(AHEAD)
        line, _, self._received = self._received.partition(b"\n")
        # A version goes into what the host signs: it must stay as it is.
        errors = "strict" if line.startswith(b"SSH-") else "replace"
        self.first_words = line.removesuffix(b"\r").decode("utf-8", errors)
        return self.first_words

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """``n`` bytes, however long they take.

        Raises:
            EOFError: the stream ended before.
            SSHException: nobody sends that much at once.
        """
        if not 0 <= n <= LONGEST_MESSAGE:
            raise paramiko.SSHException(f"a message of {n} bytes came, which cannot be")
        while len(self._received) < n:
            came = self._receive(n - len(self._received) if self._received else max(n, AHEAD))
            if not came and check_rekey and not self._received and self.need_rekey():
                raise NeedRekeyException
        data, self._received = self._received[:n], self._received[n:]
        return data

    def _receive(self, most: int) -> bool:
        """Add what comes to ``_received``; False when nothing came in time."""
        piece = self._hear(lambda: self._connection.recv(most))
        if piece is None:
            return False
        self._received = self._received + piece if self._received else piece
        return True

    def _hear(self, read: Callable[[], _Heard]) -> _Heard | None:
        """What one reading of the connection gives; None when nothing came in time.

        Raises:
            EOFError: the stream ended.
        """
        if self._prompt:
            self._prompt -= 1
            with contextlib.suppress(OSError):  # no TCP socket
                self._connection.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)
        try:
            heard = read()
        except TimeoutError:
            if self.closed:
                raise EOFError from None
            self._check_keepalive()
            return None
        except OSError:
            if self.closed:
                raise EOFError from None
            raise
        if not heard:
            raise EOFError
        self.heard = time.monotonic()
        if self._asked:
            self._asked = False
            self._connection.settimeout(quiet(self._alive))
        return heard

    def read_message(self) -> tuple[int, Message]:
        """The next message; one that was changed on its way ends the session."""
        try:
            return super().read_message()
        except InvalidTag as error:
            raise paramiko.SSHException("Mismatched MAC") from error

    # writing

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is sent inside leaves in one piece, or not at all; other threads wait with theirs."""
        with self._writing:
            held = self._held = []
            try:
                yield
            finally:
                self._held = None
            self.write_all(b"".join(held))

    def write_all(self, out: Any) -> None:
        """Write, or keep it for later inside of :meth:`together`."""
        if self._held is not None:
            self._held.append(out)
        else:
            super().write_all(out)

    # silence

    def _check_keepalive(self) -> None:
        """Called in the session's own thread when nothing came for as long as the connection's time-out."""
        if self.ask is None:
            return
        if self._asked:
            raise SessionLost(f"the host has given no sign of life for {self._alive:g} s")
        self._asked = True
        self._connection.settimeout(self._alive - quiet(self._alive))
        # Where another thread is stuck in writing, that is question enough; this one must go on listening.
        self.without_waiting(self.ask)

    def without_waiting(self, send: Callable[[], object], patience: float = 0.0) -> bool:
        """Let ``send`` write a short message, unless that might wait for the host; False when it might.

        Args:
            send: writes it.
            patience: seconds for other threads to finish what they write.
        """
        if not self._writing.acquire(timeout=patience):
            return False
        try:
            if not self._takes_more():
                return False
            send()
            return True
        finally:
            self._writing.release()

    def _takes_more(self) -> bool:
        if isinstance(self._connection, paramiko.Channel):
            return self._connection.send_ready()
        poll = select.poll()
        poll.register(self._connection, select.POLLOUT)
        return bool(poll.poll(0))
