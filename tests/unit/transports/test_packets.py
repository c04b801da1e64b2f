"""Reading and writing messages: whole, bounded, in one piece where that is asked for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import paramiko
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from paramiko.message import Message
from paramiko.packet import Packetizer

from dlpx_remote.transports.ssh.packets import LONGEST_LINE, LONGEST_MESSAGE, Packets, SessionLost

KEY, NONCE = b"k" * 16, b"n" * 12


@contextlib.contextmanager
def pair(alive: float = 30) -> Iterator[tuple[Packets, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield Packets(near, alive), far


def message(content: bytes) -> Message:
    built = Message()
    built.add_bytes(content)
    return built


def sealed(packets: Packetizer, *, inbound: bool) -> None:
    """As after a key exchange that chose AES-GCM."""
    same = {"block_engine": AESGCM(KEY), "block_size": 16, "mac_engine": None, "mac_key": None, "aead": True}
    if inbound:
        packets.set_inbound_cipher(mac_size=16, iv_in=NONCE, **same)  # type: ignore[arg-type]
    else:
        packets.set_outbound_cipher(mac_size=16, iv_out=NONCE, **same)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 15, 8192, 8200, 32768, 200_000])
def test_messages_of_any_size_arrive_as_they_were_sent(size: int) -> None:
    with pair() as (packets, far):
        sender = Packetizer(far)
        contents = [bytes([80 + turn]) + bytes(size) for turn in range(5)]

        def send() -> None:
            for content in contents:
                sender.send_message(message(content))

        thread = threading.Thread(target=send)
        thread.start()
        for content in contents:
            kind, read = packets.read_message()
            assert bytes([kind]) + read.asbytes() == content
        thread.join()


def test_a_line_and_the_messages_right_behind_it_are_told_apart() -> None:
    with pair() as (packets, far):
        far.sendall(b"hello\r\nSSH-2.0-some\n\0\0\0\x0c\x0a\x15" + bytes(10))
        assert packets.readline(1) == "hello"
        assert packets.readline(1) == packets.first_words == "SSH-2.0-some"
        assert packets.read_message()[0] == 21


def test_a_message_that_comes_byte_by_byte_is_whole_in_the_end() -> None:
    with pair() as (packets, far):
        near, writer = socket.socketpair()
        with near, writer:
            Packetizer(writer).send_message(message(b"\x50" + bytes(100)))
            data = near.recv(4096)

        def drip() -> None:
            for place in range(len(data)):
                far.sendall(data[place : place + 1])

        thread = threading.Thread(target=drip)
        thread.start()
        assert packets.read_message()[1].asbytes() == bytes(100)
        thread.join()


@pytest.mark.parametrize("length", [LONGEST_MESSAGE + 100, 0xFFFFFFFF, 0])
def test_a_length_that_cannot_be_is_refused_at_once(length: int) -> None:
    with pair() as (packets, far):
        far.sendall(length.to_bytes(4, "big") + bytes(60))
        with pytest.raises(paramiko.SSHException, match=r"cannot be|blocking"):
            packets.read_message()


def test_a_first_line_without_an_end_is_refused() -> None:
    with pair() as (packets, far):
        far.sendall(b"x" * (2 * LONGEST_LINE))
        with pytest.raises(paramiko.SSHException, match="no end"):
            packets.readline(1)


def test_a_changed_message_is_an_error_of_the_session() -> None:
    with pair() as (packets, far):
        near, writer = socket.socketpair()
        with near, writer:
            sender = Packetizer(writer)
            sealed(sender, inbound=False)
            sender.send_message(message(b"\x50 something"))
            data = bytearray(near.recv(4096))
        sealed(packets, inbound=True)
        data[-20] ^= 1
        far.sendall(data)
        with pytest.raises(paramiko.SSHException, match="MAC"):
            packets.read_message()


def test_what_is_sent_together_leaves_in_one_piece() -> None:
    with pair() as (packets, far):
        with packets.together():
            packets.send_message(message(b"\x05one"))
            packets.send_message(message(b"\x32two"))
            far.setblocking(False)
            with pytest.raises(BlockingIOError):
                far.recv(4096)
        data = far.recv(4096)
        assert b"one" in data
        assert b"two" in data


def test_what_could_not_be_made_whole_is_not_sent() -> None:
    with pair() as (packets, far):
        with contextlib.suppress(ZeroDivisionError), packets.together():
            packets.send_message(message(b"\x05one"))
            raise ZeroDivisionError
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(4096)


def test_other_threads_wait_with_what_they_send() -> None:
    with pair() as (packets, far):
        other = threading.Thread(target=lambda: packets.send_message(message(b"\x32other")))
        with packets.together():
            packets.send_message(message(b"\x05one"))
            other.start()
            packets.send_message(message(b"\x05two"))
        other.join()
        data = far.recv(4096)
        assert data.index(b"one") < data.index(b"two") < data.index(b"other")


def test_the_end_of_the_stream_is_told_also_in_the_middle_of_a_message() -> None:
    with pair() as (packets, far):
        far.sendall(b"\0\0\0\x0c\x0a")
        far.close()
        with pytest.raises(EOFError):
            packets.read_message()


def test_a_silent_host_is_asked_and_then_given_up() -> None:
    with pair(alive=0.03) as (packets, _far):
        asked: list[bool] = []
        packets.ask = lambda: asked.append(True)
        with pytest.raises(SessionLost, match="no sign of life"):
            packets.read_message()
        assert asked == [True]
