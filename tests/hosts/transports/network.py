"""Bad networks and bad servers, small enough to be understood: what no real sshd does on request."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Behaviour = Callable[[socket.socket], None]


@contextmanager
def server(behave: Behaviour) -> Iterator[int]:
    """A server on loopback that treats each connection as ``behave`` says; yields its port."""
    open_connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        ending = threading.Event()

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                behave(connection)

        def accept() -> None:
            while not ending.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    open_connections.append(connection)
                    threads.append(threading.Thread(target=serve, args=(connection,), name="bad network"))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, name="bad network")
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ending.set()
            accepting.join()
            for connection in open_connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def silent(connection: socket.socket) -> None:
    """Accepts, and never says anything."""
    while connection.recv(4096):
        pass


def saying(text: bytes) -> Behaviour:
    """Says ``text`` and then nothing."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(text)
        silent(connection)

    return behave


def closing_after(text: bytes) -> Behaviour:
    """Says ``text`` and closes."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(text)

    return behave


class Proxy:
    """Passes bytes on to a port of loopback until it is told not to.

    Args:
        port: where to pass them on to.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []

    def pump(self, near: socket.socket) -> None:
        """Behaviour for :func:`server`."""
        with socket.create_connection(("127.0.0.1", self._target)) as far:
            self._pairs.append((near, far))
            while True:
                ready, _, _ = select.select([near, far], [], [], 0.1)
                if not self._flowing.is_set():
                    if near.fileno() < 0:
                        return
                    self._flowing.wait(0.1)
                    continue
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (far if source is near else near).sendall(data)

    def stall(self) -> None:
        """Pass nothing on any more, in neither direction."""
        self._flowing.clear()

    def cut(self) -> None:
        """End every connection with a reset; new ones flow again."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    end.shutdown(socket.SHUT_RDWR)
        self._flowing.set()


@contextmanager
def proxy(port: int) -> Iterator[tuple[Proxy, int]]:
    """A proxy in front of ``port``; yields it and its own port."""
    passing = Proxy(port)
    with server(passing.pump) as own:
        try:
            yield passing, own
        finally:
            passing._flowing.set()
