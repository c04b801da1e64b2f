"""Frames between the engine and a worker process: a small JSON header and raw binary bodies.

Both ends use this module. It knows nothing of plugins, operations or the SDK, needs only the standard
library, and trusts no byte that it reads: whatever the other end sends is either a frame within the limits or
a :class:`ProtocolError`.

A frame on the wire, integers in network byte order::

    4 bytes   b"dlp1"
    4 bytes   length of the header
    8 bytes   length of all bodies together
    header    JSON object: {"kind": str, "data": object, "bodies": [length, …]}
    bodies    one after the other

Bodies are raw so that 192 MiB of a script's output are neither escaped nor encoded.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlpx_remote.plugins.worker.limits import KIB, MIB, size_in_words

MAGIC = b"dlp1"
MAX_HEADER = 1 * MIB
_PREFIX = struct.Struct("!4sIQ")
_MAX_BODIES = 100_000
_DISCARD = 64 * KIB


class ProtocolError(Exception):
    """The other end sent something that is no frame, or stopped in the middle of one."""


class FrameTooLarge(ProtocolError):
    """A frame is larger than its kind may be.

    Attributes:
        kind: of the frame, empty where it is not known yet.
        size: bytes announced.
        limit: bytes allowed.
    """

    def __init__(self, kind: str, size: int, limit: int) -> None:
        super().__init__(
            f"a {kind or 'frame'} of {size_in_words(size)} is more than the {size_in_words(limit)} allowed"
        )
        self.kind = kind
        self.size = size
        self.limit = limit


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        kind: what it is.
        data: plain JSON, small.
        bodies: raw bytes, as large as the limits allow.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    bodies: tuple[bytes, ...] = field(default=(), repr=False)


def encode(frame: Frame) -> list[bytes]:
    """The pieces of ``frame`` to send, in order; joined they are the frame. Bodies are not copied.

    Raises:
        FrameTooLarge: the header is too large.
    """
    header = json.dumps(
        {"kind": frame.kind, "data": frame.data, "bodies": [len(body) for body in frame.bodies]}
    ).encode("ascii")
    if len(header) > MAX_HEADER:
        raise FrameTooLarge(f"header of a {frame.kind}", len(header), MAX_HEADER)
    total = sum(len(body) for body in frame.bodies)
    return [_PREFIX.pack(MAGIC, len(header), total) + header, *(body for body in frame.bodies if body)]


class FrameDecoder:
    """Takes bytes as they come and gives frames.

    The caller reads into :meth:`room` and tells :meth:`filled` how much came, so that a large body is read to
    where it stays.

    Args:
        limit: how many bytes the bodies of a frame may have together, by its kind.
    """

    def __init__(self, limit: Callable[[str], int]) -> None:
        self._limit = limit
        self._reset()

    @property
    def idle(self) -> bool:
        """True between two frames: the end of the stream is no error here."""
        return self._state == "prefix" and self._have == 0

    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._discarding:
            return memoryview(self._buffer)[: min(len(self._buffer), self._left)]
        return memoryview(self._buffer)[self._have :]

    def filled(self, count: int) -> Frame | None:
        """Say that ``count`` bytes were put into :meth:`room`.

        Returns:
            A frame when one is complete.

        Raises:
            ProtocolError: what came is no frame.
            MemoryError: there was no memory for the bodies; they were read and dropped, the next frame is
            fine.
        """
        if self._discarding:
            self._left -= count
            self._end_discarding()
            return None
        self._have += count
        while self._have == len(self._buffer):
            if self._state == "prefix":
                self._start_header()
            elif self._state == "header":
                self._start_bodies()
            else:
                self._keep_body()
            if self._state == "body" and not self._discarding and not self._next_body():
                return self._finish()
        return None

    def _reset(self) -> None:
        self._state = "prefix"
        self._buffer = bytearray(_PREFIX.size)
        self._have = 0
        self._total = 0
        self._kind = ""
        self._data: dict[str, Any] = {}
        self._sizes: list[int] = []
        self._bodies: list[bytes] = []
        self._discarding = False
        self._left = 0

    def _start_header(self) -> None:
        magic, header, self._total = _PREFIX.unpack(self._buffer)
        if magic != MAGIC:
            raise ProtocolError(f"a frame begins with {MAGIC!r}, not with {magic!r}")
        if header > MAX_HEADER:
            raise FrameTooLarge("header", header, MAX_HEADER)
        if header == 0:
            raise ProtocolError("a frame has an empty header")
        self._state, self._buffer, self._have = "header", bytearray(header), 0

    def _start_bodies(self) -> None:
        try:
            header = json.loads(bytes(self._buffer))
        except (ValueError, RecursionError) as error:
            raise ProtocolError("the header of a frame is not JSON") from error
        if not isinstance(header, dict) or header.keys() != {"kind", "data", "bodies"}:
            raise ProtocolError("the header of a frame has not exactly kind, data and bodies")
        kind, data, sizes = header["kind"], header["data"], header["bodies"]
        if not isinstance(kind, str) or not isinstance(data, dict) or not _are_sizes(sizes):
            raise ProtocolError("the header of a frame has a kind, data or bodies of the wrong type")
        if sum(sizes) != self._total:
            raise ProtocolError("the lengths of a frame's bodies do not add up")
        if self._total > self._limit(kind):
            raise FrameTooLarge(kind, self._total, self._limit(kind))
        self._kind, self._data, self._sizes = kind, data, sizes[::-1]
        self._state = "body"

    def _next_body(self) -> bool:
        """Make room for the next body that has bytes; False when there is none left."""
        self._have = 0
        while self._sizes and self._sizes[-1] == 0:
            self._sizes.pop()
            self._bodies.append(b"")
        if not self._sizes:
            return False
        try:
            self._buffer = bytearray(self._sizes[-1])
            self._sizes.pop()
        except MemoryError:
            self._discard()
        return True

    def _keep_body(self) -> None:
        try:
            self._bodies.append(bytes(self._buffer))
        except MemoryError:
            self._discard()
            self._end_discarding()

    def _discard(self) -> None:
        """Read the rest of this frame and drop it, so that the next frame is found."""
        self._left = sum(self._sizes)
        self._bodies.clear()
        self._buffer = bytearray(_DISCARD)
        self._discarding = True
        self._have = -1  # no buffer is that long: the loop in filled() ends

    def _end_discarding(self) -> None:
        if self._left == 0:
            self._reset()
            raise MemoryError("no memory for a message from the other end")

    def _finish(self) -> Frame:
        frame = Frame(self._kind, self._data, tuple(self._bodies))
        self._reset()
        return frame


def send(connection: socket.socket, frame: Frame) -> None:
    """Send ``frame`` on a blocking socket."""
    for piece in encode(frame):
        connection.sendall(piece)


def receive(connection: socket.socket, decoder: FrameDecoder) -> Frame | None:
    """The next frame from a blocking socket; None when the other end closed it between two frames.

    Raises:
        ProtocolError: what came is no frame, or ended in the middle of one.
        MemoryError: see :meth:`FrameDecoder.filled`.
    """
    while True:
        count = connection.recv_into(decoder.room())
        if count == 0:
            if decoder.idle:
                return None
            raise ProtocolError("the stream ended in the middle of a frame")
        frame = decoder.filled(count)
        if frame is not None:
            return frame


def _are_sizes(sizes: object) -> bool:
    return (
        isinstance(sizes, list)
        and len(sizes) <= _MAX_BODIES
        and all(type(size) is int and size >= 0 for size in sizes)
    )
