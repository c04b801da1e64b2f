from __future__ import annotations

import json
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.plugins.worker import protocol
from dlpx_remote.plugins.worker.protocol import (
    MAGIC,
    MAX_HEADER,
    Frame,
    FrameDecoder,
    FrameTooLarge,
    ProtocolError,
    encode,
    receive,
    send,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
frames = st.builds(
    Frame,
    kind=st.text(max_size=20),
    data=st.dictionaries(st.text(), values, max_size=4),
    bodies=st.lists(st.binary(max_size=300), max_size=4).map(tuple),
)


def decoded(data: bytes, pieces: list[int], limit: int = 10_000) -> list[Frame]:
    """What a decoder makes of ``data`` when it comes in pieces of the given sizes, over and over."""
    decoder = FrameDecoder(lambda _: limit)
    found = []
    position = turn = 0
    while position < len(data):
        room = decoder.room()
        count = min(len(room), len(data) - position, pieces[turn % len(pieces)])
        room[:count] = data[position : position + count]
        position += count
        turn += 1
        frame = decoder.filled(count)
        if frame is not None:
            found.append(frame)
    assert decoder.idle
    return found


def on_the_wire(header: Any, body: bytes = b"", total: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("!4sIQ", MAGIC, len(text), len(body) if total is None else total) + text + body


@given(st.lists(frames, max_size=4), st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_frames_arrive_as_they_were_sent_however_the_bytes_are_cut(
    sent: list[Frame], pieces: list[int]
) -> None:
    data = b"".join(b"".join(encode(frame)) for frame in sent)
    assert decoded(data, pieces) == sent


@given(st.binary(min_size=16, max_size=400))
def test_garbage_is_never_taken_for_a_frame(garbage: bytes) -> None:
    try:
        found = decoded(garbage, [400])
    except (ProtocolError, AssertionError):
        return
    assert garbage == b"".join(b"".join(encode(frame)) for frame in found)


@given(frames, st.data())
def test_a_frame_that_is_cut_off_is_an_error(frame: Frame, data: st.DataObject) -> None:
    wire = b"".join(encode(frame))
    cut = wire[: data.draw(st.integers(1, len(wire) - 1))]
    near, far = socket.socketpair()
    with near, far:
        near.sendall(cut)
        near.close()
        with pytest.raises(ProtocolError, match="ended in the middle of a frame"):
            receive(far, FrameDecoder(lambda _: 10_000))


def test_the_end_between_two_frames_is_no_error() -> None:
    near, far = socket.socketpair()
    with near, far:
        send(near, Frame("last"))
        near.close()
        decoder = FrameDecoder(lambda _: 0)
        assert receive(far, decoder) == Frame("last")
        assert receive(far, decoder) is None


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "begins with"),
        (on_the_wire(b"{not json"), "is not JSON"),
        (on_the_wire(b"[" * 100_000), "is not JSON"),
        (on_the_wire([]), "kind, data and bodies"),
        (on_the_wire({"kind": "a", "data": {}}), "kind, data and bodies"),
        (on_the_wire({"kind": 1, "data": {}, "bodies": []}), "wrong type"),
        (on_the_wire({"kind": "a", "data": [], "bodies": []}), "wrong type"),
        (on_the_wire({"kind": "a", "data": {}, "bodies": [-1, 1]}), "wrong type"),
        (on_the_wire({"kind": "a", "data": {}, "bodies": [True]}, b"x"), "wrong type"),
        (on_the_wire({"kind": "a", "data": {}, "bodies": [2]}, b"x"), "add up"),
        (struct.pack("!4sIQ", MAGIC, 0, 0), "empty header"),
        (struct.pack("!4sIQ", MAGIC, MAX_HEADER + 1, 0), "header of 1 MiB is more"),
    ],
)
def test_what_is_no_frame_is_refused_with_the_reason(wire: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        decoded(wire, [1 << 20])


def test_bodies_beyond_the_limit_of_their_kind_are_refused_before_they_are_read() -> None:
    wire = on_the_wire({"kind": "result", "data": {}, "bodies": [1 << 40]}, total=1 << 40)
    decoder = FrameDecoder(lambda kind: {"result": 1000}[kind])
    prefix = decoder.room()
    prefix[:] = wire[:16]
    decoder.filled(16)
    header = decoder.room()
    header[:] = wire[16:]
    with pytest.raises(FrameTooLarge, match="a result of 1024 GiB is more than the 1000 bytes allowed"):
        decoder.filled(len(header))


def test_a_header_too_large_to_send_is_refused() -> None:
    with pytest.raises(FrameTooLarge):
        encode(Frame("a", {"text": "x" * MAX_HEADER}))


def test_without_memory_for_a_body_the_frame_is_dropped_and_the_next_one_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def allocate(size: int = 0) -> bytearray:
        if size == 123_456:
            raise MemoryError
        return bytearray(size)

    monkeypatch.setattr(protocol, "bytearray", allocate, raising=False)
    near, far = socket.socketpair()
    with near, far:
        decoder = FrameDecoder(lambda _: 1_000_000)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
        send(near, Frame("large", {}, (b"small", b"x" * 123_456, b"after")))
        send(near, Frame("next", {}, (b"body",)))
        with pytest.raises(MemoryError):
            receive(far, decoder)
        assert receive(far, decoder) == Frame("next", {}, (b"body",))
