"""The proxy does to a connection exactly what it says, or the sweeps over it mean nothing."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.hosts.faults.proxy import Direction, Fault, Kind, Proxy

TEXT = bytes(range(256)) * 1024
OFFSETS = (0, 1, 1000, 65536, len(TEXT))
PLACES = list(itertools.product(("up", "down"), OFFSETS))
PLACES_BEFORE_THE_END = list(itertools.product(("up", "down"), OFFSETS[:-1]))


class _End:
    """One end of a conversation: says ``TEXT`` and listens, both at once."""

    def __init__(self, connection: socket.socket, text: bytes = TEXT) -> None:
        connection.settimeout(10)
        self._connection = connection
        self.heard = bytearray()
        self.ended = "closed"
        self._threads = [
            threading.Thread(target=self._listen),
            threading.Thread(target=self._say, args=[text]),
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> _End:
        for thread in self._threads:
            thread.join()
        self._connection.close()
        return self

    def _say(self, text: bytes) -> None:
        with contextlib.suppress(OSError), self._noticing_reset():
            self._connection.sendall(text)
            self._connection.shutdown(socket.SHUT_WR)

    def _listen(self) -> None:
        with self._noticing_reset():
            while data := self._connection.recv(65536):
                self.heard += data

    @contextlib.contextmanager
    def _noticing_reset(self) -> Iterator[None]:
        """Whichever thread asks first is told of a reset, and only that one."""
        try:
            yield
        except ConnectionResetError:
            self.ended = "reset"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", listener.getsockname()[1]) as proxy:
        yield proxy


def _converse(proxy: Proxy, listener: socket.socket) -> dict[Direction, _End]:
    """Both ends after a conversation, by the direction in which they listen."""
    client = socket.create_connection(("127.0.0.1", proxy.port))
    server, _ = listener.accept()
    ends: dict[Direction, _End] = {"down": _End(client), "up": _End(server)}
    for end in ends.values():
        end.wait()
    return ends


def test_without_a_fault_everything_passes(proxy: Proxy, listener: socket.socket) -> None:
    ends = _converse(proxy, listener)
    assert all(end.heard == TEXT and end.ended == "closed" for end in ends.values())
    assert proxy.links[0].passed == {"up": len(TEXT), "down": len(TEXT)}


@pytest.mark.parametrize(("direction", "offset"), PLACES)
def test_a_cut_lets_exactly_so_many_bytes_pass_and_both_ends_see_a_close(
    proxy: Proxy, listener: socket.socket, direction: Direction, offset: int
) -> None:
    fault = Fault("cut", direction, offset)
    proxy.arm(fault)
    ends = _converse(proxy, listener)
    assert ends[direction].heard == TEXT[:offset]
    assert {end.ended for end in ends.values()} == {"closed"}
    assert proxy.links[0].struck == fault


@pytest.mark.parametrize(("direction", "offset"), PLACES_BEFORE_THE_END)
def test_a_reset_is_seen_by_the_end_that_listens(
    proxy: Proxy, listener: socket.socket, direction: Direction, offset: int
) -> None:
    proxy.arm(Fault("reset", direction, offset))
    ends = _converse(proxy, listener)
    assert TEXT[:offset].startswith(ends[direction].heard)  # RST overtakes what was not read yet
    assert ends[direction].ended == "reset"


@pytest.mark.parametrize(("kind", "ended"), [("cut", "closed"), ("reset", "reset")])
def test_both_ends_of_a_quiet_connection_are_told(
    proxy: Proxy, listener: socket.socket, kind: Kind, ended: str
) -> None:
    client = socket.create_connection(("127.0.0.1", proxy.port))
    server, _ = listener.accept()
    client.sendall(b"x")
    server.recv(1)
    proxy.links[0].strike(kind)
    assert {_listening(client), _listening(server)} == {ended}


def _listening(connection: socket.socket) -> str:
    with connection:
        connection.settimeout(10)
        try:
            return "more" if connection.recv(1) else "closed"
        except ConnectionResetError:
            return "reset"


@pytest.mark.parametrize(("direction", "offset"), PLACES_BEFORE_THE_END)
def test_one_byte_is_spoilt(proxy: Proxy, listener: socket.socket, direction: Direction, offset: int) -> None:
    proxy.arm(Fault("corrupt", direction, offset))
    ends = _converse(proxy, listener)
    expected = bytearray(TEXT)
    expected[offset] ^= 0xFF
    other: Direction = "down" if direction == "up" else "up"
    assert ends[direction].heard == expected
    assert ends[other].heard == TEXT


@pytest.mark.parametrize(("direction", "offset"), PLACES)
def test_a_stalled_direction_forwards_nothing_more_and_the_other_goes_on(
    proxy: Proxy, listener: socket.socket, direction: Direction, offset: int
) -> None:
    proxy.arm(Fault("stall", direction, offset))
    client = socket.create_connection(("127.0.0.1", proxy.port))
    server, _ = listener.accept()
    ends: dict[Direction, _End] = {"down": _End(client), "up": _End(server)}
    other: Direction = "down" if direction == "up" else "up"
    # The direction that works has ended for good; nobody ever hears the end of the other one.
    while len(ends[other].heard) < len(TEXT) or len(ends[direction].heard) < offset:
        time.sleep(0.01)
    time.sleep(0.05)
    proxy.links[0].strike("reset")
    for end in ends.values():
        end.wait()
    assert ends[direction].heard == TEXT[:offset]
    assert ends[other].heard == TEXT


def test_a_fault_counts_from_when_it_is_armed_and_only_once(proxy: Proxy, listener: socket.socket) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as client, listener.accept()[0] as server:
        client.sendall(b"before")
        assert server.recv(100) == b"before"
        proxy.links[0].arm(Fault("corrupt", "up", 2))
        client.sendall(b"\0\0\0\0after")
        assert server.recv(9, socket.MSG_WAITALL) == b"\0\0\xff\0after"
    ends = _converse(proxy, listener)
    assert all(end.heard == TEXT for end in ends.values())


def test_the_next_connection_is_not_struck(proxy: Proxy, listener: socket.socket) -> None:
    proxy.arm(Fault("reset", "down", 0))
    _converse(proxy, listener)
    assert all(end.heard == TEXT for end in _converse(proxy, listener).values())


def test_a_delayed_way_delivers_everything_in_order(listener: socket.socket) -> None:
    with Proxy("127.0.0.1", listener.getsockname()[1], delay=0.05) as proxy:
        assert all(end.heard == TEXT for end in _converse(proxy, listener).values())
