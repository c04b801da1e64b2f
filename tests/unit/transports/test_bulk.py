"""Messages in bulk: on the wire as paramiko's own, in any pieces, and nothing altered is taken."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, cast

import paramiko
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from paramiko.buffered_pipe import BufferedPipe, PipeTimeout
from paramiko.message import Message
from paramiko.packet import Packetizer

from dlpx_remote.transports.ssh.bulk import BulkPackets, Payloads, Pieces
from dlpx_remote.transports.ssh.packets import LONGEST_MESSAGE

_KEY = bytes(range(16))
_NONCE = b"four" + bytes(7) + b"\xfe"
_DATA, _OTHER = 94, 98
_BODIES = [b"", b"x", bytes(15), bytes(16), os.urandom(1000), os.urandom(32_768), os.urandom(200_000)]

Kind = Callable[[Any], Packetizer]


class Ours(BulkPackets):
    """As every session has it."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection, alive=30)


class Trickle:
    """A connection that gives its bytes in pieces of its own choice, as the channel of a jump host does."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        self._data = data
        self._sizes = cycle(sizes)

    def settimeout(self, seconds: float) -> None:
        """It never waits."""

    def recv(self, most: int) -> bytes:
        size = min(most, next(self._sizes))
        piece, self._data = self._data[:size], self._data[size:]
        return piece


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(20)
        far.settimeout(20)
        yield near, far


@pytest.mark.parametrize(
    ("writing", "reading"),
    [(Ours, Ours), (Ours, Packetizer), (Packetizer, Ours)],
)
@pytest.mark.parametrize("kind", [_DATA, _OTHER])
def test_ours_and_paramikos_own_understand_each_other(
    kind: int, writing: Kind, reading: Kind, ends: tuple[socket.socket, socket.socket]
) -> None:
    sender, receiver = _writer(writing, ends[0]), _reader(reading, ends[1])

    def send() -> None:
        for body in _BODIES:
            sender.send_message(_message(kind, body))

    with _in_thread(send):
        for number, body in enumerate(_BODIES):
            got, message = receiver.read_message()
            assert (got, message.get_binary(), message.seqno) == (kind, body, number)


@pytest.mark.parametrize("reading", [Ours, Packetizer])
@pytest.mark.parametrize("secret", [True, False])
def test_messages_that_leave_together_arrive_one_by_one(
    secret: bool, reading: Kind, ends: tuple[socket.socket, socket.socket]
) -> None:
    sender = _writer(Ours, ends[0]) if secret else Ours(ends[0])
    receiver = _reader(reading, ends[1]) if secret else reading(ends[1])
    bodies = [body for body in _BODIES if len(body) < 30_000 or secret]
    payloads = [(bytes((_DATA,)), len(body).to_bytes(4, "big"), memoryview(body)) for body in bodies]
    with _in_thread(lambda: sender.send_message(cast(Any, Payloads(payloads)))):
        assert [receiver.read_message()[1].get_binary() for _ in bodies] == bodies


@given(
    bodies=st.lists(st.binary(max_size=70_000), max_size=8),
    sizes=st.lists(st.integers(1, 100_000), min_size=1, max_size=5),
)
def test_it_does_not_matter_in_which_pieces_bytes_arrive(bodies: list[bytes], sizes: list[int]) -> None:
    reader = _reader(Ours, Trickle(_written(bodies), sizes))
    assert [reader.read_message()[1].get_binary() for _ in bodies] == bodies
    with pytest.raises(EOFError):
        reader.read_message()


def test_the_counter_of_messages_may_run_over(ends: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = Ours(ends[0]), Ours(ends[1])
    _seal(sender, "out", b"four" + b"\xff" * 8)
    _seal(receiver, "in", b"four" + b"\xff" * 8)
    for body in (b"last", b"first"):
        sender.send_message(_message(_DATA, body))
        assert receiver.read_message()[1].get_binary() == body


@given(place=st.integers(0, 3 * 100 - 1), bit=st.integers(0, 7))
def test_no_altered_message_is_taken(place: int, bit: int) -> None:
    data = bytearray(_written([bytes(60)] * 3))
    assert len(data) == 3 * 100
    data[place] ^= 1 << bit
    reader = _reader(Ours, Trickle(bytes(data), [1000]))
    for _ in range(place // 100):
        assert reader.read_message()[1].get_binary() == bytes(60)
    with pytest.raises((paramiko.SSHException, EOFError)):
        reader.read_message()


@pytest.mark.parametrize("length", [0, 8, 17, LONGEST_MESSAGE + 16, 0xFFFFFFF0])
def test_an_impossible_length_is_not_waited_for(length: int) -> None:
    reader = _reader(Ours, Trickle(length.to_bytes(4, "big"), [4]))
    with pytest.raises(paramiko.SSHException, match=f"impossible length \\({length}\\)"):
        reader.read_message()


def test_keys_change_in_the_middle_of_what_was_read_already(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Without cipher, then AES-GCM, then AES-CTR, then AES-GCM: whatever the two sides agree on."""
    sender, receiver = Ours(ends[0]), Ours(ends[1])
    steps: list[Callable[[Packetizer, str], None]] = [lambda *_: None, _seal, _encrypt, _seal]
    for step in steps:
        step(sender, "out")
        sender.send_message(_message(_DATA, b"before"))
        sender.send_message(_message(_OTHER, b"after"))
    for step in steps:
        step(receiver, "in")
        assert [receiver.read_message()[1].get_binary() for _ in "12"] == [b"before", b"after"]


@pytest.mark.parametrize("way", ["in", "out"])
def test_new_keys_are_asked_for_when_the_old_have_served(
    way: str, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ours, "REKEY_BYTES", 1000)
    monkeypatch.setattr(Ours, "REKEY_BYTES_OVERFLOW_MAX", 1000)
    sender, receiver = _writer(Ours, ends[0]), _reader(Ours, ends[1])
    asked: list[bool] = []
    for _ in range(10):
        sender.send_message(_message(_DATA, bytes(100)))
        receiver.read_message()
        asked.append((receiver if way == "in" else sender).need_rekey())
    assert asked == sorted(asked)
    assert asked[0] is False
    assert asked[-1] is True


def test_a_host_that_never_changes_keys_is_left(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, receiver = _writer(Packetizer, ends[0]), _reader(Ours, ends[1])
    monkeypatch.setattr(Ours, "REKEY_BYTES", 1000)
    monkeypatch.setattr(Ours, "REKEY_BYTES_OVERFLOW_MAX", 1000)

    def go_on() -> None:
        for _ in range(20):
            sender.send_message(_message(_DATA, bytes(100)))
            receiver.read_message()

    with pytest.raises(paramiko.SSHException, match="does not exchange keys"):
        go_on()


class TestABuffer:
    @given(
        st.lists(
            st.one_of(st.binary(max_size=3000), st.integers(0, 5000), st.just(None)),
            max_size=30,
        )
    )
    def test_it_gives_what_paramikos_own_gives(self, steps: list[bytes | int | None]) -> None:
        ours, theirs = Pieces(), cast(Any, BufferedPipe())
        our_event, their_event = threading.Event(), threading.Event()
        ours.set_event(our_event)
        theirs.set_event(their_event)
        for step in steps:
            if isinstance(step, bytes):
                ours.feed(step)
                theirs.feed(step)
            elif step is None:
                assert ours.empty() == theirs.empty()
            elif theirs.read_ready():
                assert ours.read(step) == theirs.read(step)
            assert (len(ours), ours.read_ready()) == (len(theirs), theirs.read_ready())
            assert our_event.is_set() or not len(ours)
        ours.close()
        theirs.close()
        assert ours.empty() == theirs.empty()
        assert ours.read(1) == theirs.read(1) == b""
        assert our_event.is_set()

    def test_it_says_when_nothing_comes(self) -> None:
        pieces = Pieces()
        for timeout in (0.0, 0.01):
            with pytest.raises(PipeTimeout):
                pieces.read(1, timeout)

    def test_an_event_that_comes_late_learns_what_is_there(self) -> None:
        pieces, event = Pieces(), threading.Event()
        pieces.set_event(event)
        assert not event.is_set()
        pieces.feed(b"x")
        pieces.set_event(event := threading.Event())
        assert event.is_set()
        assert pieces.read(5) == b"x"
        assert not event.is_set()
        pieces.close()
        pieces.set_event(event := threading.Event())
        assert event.is_set()

    def test_single_bytes_do_not_fill_the_memory(self) -> None:
        pieces = Pieces()
        for _ in range(100_000):
            pieces.feed(b"x")
        assert len(pieces._pieces) < 1000
        assert pieces.read(200_000) == b"x" * 100_000


def _message(kind: int, body: bytes) -> Message:
    message = Message()
    message.add_byte(bytes((kind,)))
    message.add_string(body)
    return message


def _written(bodies: Sequence[bytes]) -> bytes:
    near, far = socket.socketpair()
    with near, far:
        sender = _writer(Packetizer, near)

        def write() -> None:
            for body in bodies:
                sender.send_message(_message(_DATA, body))
            near.shutdown(socket.SHUT_WR)

        with _in_thread(write), far.makefile("rb") as file:
            return file.read()


def _writer(kind: Kind, connection: Any) -> Packetizer:
    packetizer = kind(connection)
    _seal(packetizer, "out")
    return packetizer


def _reader(kind: Kind, connection: Any) -> Packetizer:
    packetizer = kind(connection)
    _seal(packetizer, "in")
    return packetizer


def _seal(packetizer: Packetizer, way: str, nonce: bytes = _NONCE) -> None:
    options = {"block_engine": AESGCM(_KEY), "block_size": 16, "mac_engine": None, "mac_size": 16}
    _switch(packetizer, way, {**options, "mac_key": None, "aead": True, f"iv_{way}": nonce})


def _encrypt(packetizer: Packetizer, way: str) -> None:
    cipher = Cipher(algorithms.AES(_KEY), modes.CTR(bytes(16)))
    engine = cipher.encryptor() if way == "out" else cipher.decryptor()
    mac = paramiko.Transport._mac_info["hmac-sha2-256"]  # type: ignore[attr-defined]
    options = {"block_engine": engine, "block_size": 16, "mac_engine": mac["class"], "mac_size": mac["size"]}
    _switch(packetizer, way, {**options, "mac_key": bytes(32)})


def _switch(packetizer: Packetizer, way: str, options: dict[str, Any]) -> None:
    if way == "out":
        packetizer.set_outbound_cipher(**options)
    else:
        packetizer.set_inbound_cipher(**options)


@contextmanager
def _in_thread(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()
