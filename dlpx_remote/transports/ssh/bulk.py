"""Messages in bulk: read, opened and sent with fewer copies and system calls than paramiko's, in big numbers.

With AES-GCM one call opens a whole message. What the socket holds is read at once into one buffer, and
messages are opened where they lie; several messages that leave together leave in one write. With any other
cipher everything is as in ``packets``. Like it, this module touches private names of paramiko, and
``tests/unit/transports`` pins each of them.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, cast

import paramiko
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from paramiko.buffered_pipe import PipeTimeout
from paramiko.common import MSG_CHANNEL_DATA, xffffffff
from paramiko.message import Message
from paramiko.packet import NeedRekeyException

from dlpx_remote.transports.ssh.packets import LONGEST_MESSAGE, Packets

_FEWEST = 16 * 1024
_MOST = 512 * 1024
_BLOCK = 16
_TAG = 16
_SMALL = 1024
_LENGTH = 4


class Payloads:
    """Several messages that leave together; paramiko hands them on as if they were one.

    Args:
        payloads: each in parts.
    """

    def __init__(self, payloads: Sequence[Sequence[bytes | memoryview]]) -> None:
        self.payloads = payloads


class _Sealer:
    """AES-GCM with the counter that goes with every message (RFC 5647 section 7.1)."""

    def __init__(self, cipher: AESGCM, nonce: bytes) -> None:
        self._cipher = cipher
        self._fixed = nonce[:4]
        self._count = int.from_bytes(nonce[4:], "big")

    def seal(self, plain: bytes, length: bytes) -> bytes:
        return self._cipher.encrypt(self._next(), plain, length)

    def open(self, sealed: memoryview, length: memoryview) -> bytes:
        return self._cipher.decrypt(self._next(), sealed, length)

    def _next(self) -> bytes:
        nonce = self._fixed + self._count.to_bytes(8, "big")
        self._count = (self._count + 1) % (1 << 64)
        return nonce


class BulkPackets(Packets):
    """Reads and writes messages, many at once.

    Args:
        connection, alive: see :class:`Packets`.
    """

    def __init__(self, connection: Any, alive: float) -> None:
        super().__init__(connection, alive)
        self._inward: _Sealer | None = None
        self._outward: _Sealer | None = None
        self._volume_in = self._volume_out = 0
        self._store = bytearray(_FEWEST)
        self._begin = self._end = 0

    # keys

    def set_inbound_cipher(self, *arguments: Any, **options: Any) -> None:
        """See paramiko; called with every exchange of keys."""
        super().set_inbound_cipher(*arguments, **options)
        self._volume_in = 0
        unread = self._received + bytes(self._store[self._begin : self._end])
        if options.get("aead"):
            self._inward = _Sealer(options["block_engine"], options["iv_in"])
            self._hold(unread)
            self._received = b""
        else:
            self._inward = None
            self._hold(b"")
            self._received = unread

    def set_outbound_cipher(self, *arguments: Any, **options: Any) -> None:
        """See paramiko; called with every exchange of keys."""
        super().set_outbound_cipher(*arguments, **options)
        self._volume_out = 0
        sealed = options.get("aead")
        self._outward = _Sealer(options["block_engine"], options["iv_out"]) if sealed else None

    # reading

    def read_message(self) -> tuple[int, Message]:
        if self._inward is None:
            return super().read_message()
        self._want(_LENGTH, between=True)
        size = int.from_bytes(self._store[self._begin : self._begin + _LENGTH], "big")
        if size % _BLOCK or not _BLOCK <= size <= LONGEST_MESSAGE:
            raise paramiko.SSHException(f"the host sent a message of impossible length ({size})")
        self._want(_LENGTH + size + _TAG)
        view = memoryview(self._store)
        middle = self._begin + _LENGTH
        end = middle + size + _TAG
        try:
            plain = self._inward.open(view[middle:end], view[self._begin : middle])
        except InvalidTag as error:
            raise paramiko.SSHException("a message from the host was altered on its way") from error
        self._begin = end
        self._volume_in += _LENGTH + size + _TAG
        if self._volume_in >= self.REKEY_BYTES + self.REKEY_BYTES_OVERFLOW_MAX:
            raise paramiko.SSHException("the host does not exchange keys, though asked")
        self._ask_for_keys(self._volume_in)
        private = cast(Any, self)
        if plain[1] == MSG_CHANNEL_DATA:  # names its own length, so that nothing need be cut off
            message = Message()
            message.packet = BytesIO(plain)
            message.packet.seek(2)
        else:
            message = Message(plain[2 : size - plain[0]])
        message.seqno = private._Packetizer__sequence_number_in
        private._Packetizer__sequence_number_in = (message.seqno + 1) & xffffffff
        return plain[1], message

    def _want(self, size: int, *, between: bool = False) -> None:
        """Read until ``size`` bytes are held from ``_begin`` on.

        Args:
            between: no part of a message has been looked at.
        """
        while self._end - self._begin < size:
            if self._begin == self._end:
                self._begin = self._end = 0
            if self._begin + max(size, _FEWEST) > len(self._store):
                self._move(max(size, len(self._store)))
            between = between and self._begin == self._end
            space = len(self._store) - self._end
            taken = self._take(between)
            self._end += taken
            if taken == space and len(self._store) < _MOST:
                self._move(len(self._store) * 2)

    def _move(self, capacity: int) -> None:
        """What is held goes to the front of a buffer of ``capacity``."""
        held = self._store[self._begin : self._end]
        if capacity != len(self._store):
            self._store = bytearray(capacity)
        self._store[: len(held)] = held
        self._begin, self._end = 0, len(held)

    def _hold(self, data: bytes) -> None:
        """Hold ``data`` and nothing else."""
        self._store = bytearray(max(_FEWEST, len(data)))
        self._store[: len(data)] = data
        self._begin, self._end = 0, len(data)

    def _take(self, between: bool) -> int:
        """Read once; how many bytes came."""
        while True:
            taken = self._hear(self._read_into_store)
            if taken is not None:
                return taken
            if between and self.need_rekey():
                raise NeedRekeyException
            if self._begin == self._end and len(self._store) > _FEWEST:
                self._hold(b"")  # an idle session keeps little memory

    def _read_into_store(self) -> int:
        with memoryview(self._store) as view, view[self._end :] as space:
            if isinstance(self._connection, socket.socket):
                return self._connection.recv_into(space)
            data: bytes = self._connection.recv(len(space))
            space[: len(data)] = data
            return len(data)

    # writing

    def send_message(self, data: Message | Payloads) -> None:
        """Send one message, or several in one write."""
        private = cast(Any, self)
        with self._writing:
            if self._outward is None:
                for message in _messages(data):
                    super().send_message(message)
                return
            payloads = data.payloads if isinstance(data, Payloads) else ((data.asbytes(),),)
            out = b"".join([part for payload in payloads for part in _sealed(self._outward, payload)])
            number = private._Packetizer__sequence_number_out
            private._Packetizer__sequence_number_out = (number + len(payloads)) & xffffffff
            self.write_all(memoryview(out) if isinstance(self._connection, socket.socket) else out)
            self._volume_out += len(out)
            self._ask_for_keys(self._volume_out)

    def _ask_for_keys(self, volume: int) -> None:
        """Ask for new keys when the old ones have served long enough (RFC 4253 section 9)."""
        if volume >= self.REKEY_BYTES and not self.need_rekey():
            cast(Any, self)._trigger_rekey()


def _messages(data: Message | Payloads) -> Iterator[Message]:
    if isinstance(data, Payloads):
        yield from (Message(b"".join(payload)) for payload in data.payloads)
    else:
        yield data


def _sealed(sealer: _Sealer, payload: Sequence[bytes | memoryview]) -> tuple[bytes, bytes]:
    """Length and sealed rest of one message (RFC 4253 section 6, RFC 5647 section 7.2)."""
    size = 1 + sum(map(len, payload))
    padding = _BLOCK - size % _BLOCK
    if padding < 4:
        padding += _BLOCK
    length = (size + padding).to_bytes(_LENGTH, "big")
    return length, sealer.seal(b"".join((bytes((padding,)), *payload, os.urandom(padding))), length)


class Pieces:
    """A channel's buffer that keeps what comes as it came, instead of copying it in and out.

    Has the methods of paramiko's ``BufferedPipe``, whose place it takes.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._closed = False
        self._event: threading.Event | None = None

    def set_event(self, event: threading.Event) -> None:
        """Have ``event`` set while there is something to read, and from the end on."""
        with self._condition:
            self._event = event
            if self._closed or self._size:
                event.set()
            else:
                event.clear()

    def feed(self, data: bytes) -> None:
        """Called by the session's thread."""
        with self._condition:
            if self._pieces and len(self._pieces[-1]) + len(data) <= _SMALL:
                self._pieces[-1] += data  # a host that sends single bytes must not fill the memory
            elif data:
                self._pieces.append(data)
            self._size += len(data)
            if self._event is not None:
                self._event.set()
            self._condition.notify_all()

    def read_ready(self) -> bool:
        """Whether there is something to read."""
        return self._size > 0

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """At most ``nbytes``; nothing at the end.

        Raises:
            PipeTimeout: nothing came within ``timeout`` seconds.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: self._size or self._closed, timeout):
                raise PipeTimeout
            return self._taken(nbytes)

    def empty(self) -> bytes:
        """All that is there."""
        with self._condition:
            return self._taken(self._size)

    def close(self) -> None:
        """Nothing more will come."""
        with self._condition:
            self._closed = True
            if self._event is not None:
                self._event.set()
            self._condition.notify_all()

    def __len__(self) -> int:
        return self._size

    def _taken(self, most: int) -> bytes:
        taken: list[bytes] = []
        size = 0
        while self._pieces and size < most:
            piece = self._pieces.popleft()
            if size + len(piece) > most:
                self._pieces.appendleft(piece[most - size :])
                piece = piece[: most - size]
            taken.append(piece)
            size += len(piece)
        self._size -= size
        if not self._size and self._event is not None and not self._closed:
            self._event.clear()
        return taken[0] if len(taken) == 1 else b"".join(taken)
