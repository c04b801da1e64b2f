"""A TCP proxy that spoils a connection at an exact byte: the network that a test machine does not have.

Every proxy listens on a loopback port of its own and forwards to one server. Faults are counted in bytes of
one direction, from the connection's start or from the moment when a test arms them. It knows nothing of what
it forwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["up", "down"]
"""``up`` is from the client to the server."""

Kind = Literal["cut", "reset", "stall", "corrupt"]
"""``cut``: both ends see the other close (FIN). ``reset``: both ends get RST. ``stall``: this direction
forwards nothing more, not even the end. ``corrupt``: one byte has all its bits flipped, then all goes on."""

_PIECE = 1 << 16
_PIECES_UNDERWAY = 64


@dataclass(frozen=True)
class Fault:
    """What happens after ``offset`` bytes have passed in ``direction``; ``corrupt`` hits the next byte."""

    kind: Kind
    direction: Direction
    offset: int


class Link:
    """One connection through a proxy.

    Attributes:
        port: from which the server sees the connection come.
        passed: bytes that have been forwarded, by direction.
        struck: the fault, once it has happened.
    """

    def __init__(
        self, proxy: Proxy, client: socket.socket, server: socket.socket, fault: Fault | None
    ) -> None:
        self._proxy = proxy
        self._sockets: dict[Direction, tuple[socket.socket, socket.socket]] = {
            "up": (client, server),
            "down": (server, client),
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._open: dict[Direction, asyncio.Event] = {}
        self._ended: set[Direction] = set()
        self._cut = False
        self._fault = fault
        self._start = 0
        self.port = int(server.getsockname()[1])
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.struck: Fault | None = None

    def arm(self, fault: Fault) -> None:
        """Let ``fault`` happen, counted from now."""

        def arm() -> None:
            self._fault = fault
            self._start = self.passed[fault.direction]
            self._strike_if_due(fault.direction)

        self._proxy.call(arm)

    def strike(self, kind: Kind) -> None:
        """Cut, reset or stall (both directions) now."""

        def strike() -> None:
            for direction in ("up", "down") if kind == "stall" else ("up",):
                self._strike(Fault(kind, direction, self.passed[direction]))

        self._proxy.call(strike)

    # everything below runs in the proxy's thread

    def begin(self) -> None:
        """Start to forward."""
        for direction in self._sockets:
            self._open[direction] = asyncio.Event()
            self._open[direction].set()
            pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES_UNDERWAY)
            self._start_task(self._read(direction, pieces))
            self._start_task(self._write(direction, pieces))
        if self._fault is not None:
            self._strike_if_due(self._fault.direction)

    async def end(self) -> None:
        """Close both ends; what is still under way is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _read(self, direction: Direction, pieces: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        source, _ = self._sockets[direction]
        data = b"more"
        while data:
            try:
                data = await loop.sock_recv(source, _PIECE)
            except OSError:
                data = b""
            await pieces.put((loop.time() + self._proxy.delay, data))

    async def _write(self, direction: Direction, pieces: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        _, destination = self._sockets[direction]
        while True:
            due, data = await pieces.get()
            if self._proxy.delay:
                await asyncio.sleep(due - loop.time())
            await self._open[direction].wait()
            if not data:
                break
            while data and not self._cut:
                piece = self._until_fault(direction, data)
                data = data[len(piece) :]
                piece = self._corrupted(direction, piece)
                try:
                    await loop.sock_sendall(destination, piece)
                except OSError:
                    return  # the end of the other direction says so
                self.passed[direction] += len(piece)
                self._strike_if_due(direction)
                await self._open[direction].wait()
        if not self._cut:
            self._finish(direction)

    def _until_fault(self, direction: Direction, data: bytes) -> bytes:
        """As much of ``data`` as passes before the fault; for ``corrupt``, the spoilt byte comes first."""
        left = self._left(direction)
        return data if left is None or left < 0 else data[: left or 1]

    def _left(self, direction: Direction) -> int | None:
        fault = self._fault
        if fault is None or fault.direction != direction:
            return None
        return self._start + fault.offset - self.passed[direction]

    def _corrupted(self, direction: Direction, piece: bytes) -> bytes:
        fault = self._fault
        if fault is None or fault.kind != "corrupt" or self._left(direction) != 0:
            return piece
        self.struck, self._fault = fault, None
        return bytes([piece[0] ^ 0xFF]) + piece[1:]

    def _strike_if_due(self, direction: Direction) -> None:
        fault = self._fault
        if fault is not None and fault.kind != "corrupt" and self._left(direction) == 0:
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        self.struck, self._fault = fault, None
        if fault.kind == "stall":
            self._open[fault.direction].clear()
        elif fault.kind == "reset":
            for end, _ in self._sockets.values():
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close()
        else:
            # Both ends stay readable: closing with unread bytes would send RST where FIN is wanted.
            self._cut = True
            for direction in self._sockets:
                self._finish(direction)

    def _finish(self, direction: Direction) -> None:
        """Pass the end of a direction on; with both ended, the connection is over."""
        with contextlib.suppress(OSError):
            self._sockets[direction][1].shutdown(socket.SHUT_WR)
        self._ended.add(direction)
        if len(self._ended) == 2 and self.struck is None:
            self._close()

    def _close(self) -> None:
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        for end, _ in self._sockets.values():
            end.close()


class Proxy:
    """Forwards a loopback port to a server, in a thread of its own; a context manager.

    Args:
        address, port: of the server.
        delay: seconds that every byte spends under way, each direction.

    Attributes:
        port: to connect to, on 127.0.0.1.
        links: connections so far, the first first.
    """

    def __init__(self, address: str, port: int, delay: float = 0.0) -> None:
        self._server = (address, port)
        self.delay = delay
        self.links: list[Link] = []
        self._fault: Fault | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.port}")

    def arm(self, fault: Fault) -> None:
        """Let ``fault`` happen to the next connection, counted from its start."""
        self._fault = fault

    def forget(self, links: Iterable[Link]) -> None:
        """End ``links``, which need not stand any more, and drop them from :attr:`links`."""

        async def forget(ending: list[Link]) -> None:
            for link in ending:
                await link.end()
                self.links.remove(link)

        asyncio.run_coroutine_threadsafe(forget(list(links)), self._loop).result(10)

    def call(self, function: Callable[[], None]) -> None:
        """Run ``function`` in the proxy's thread, and wait for it."""

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._accepting = asyncio.run_coroutine_threadsafe(self._accept(), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            client.setblocking(False)
            server = socket.socket()
            server.setblocking(False)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await loop.sock_connect(server, self._server)
            except OSError:
                client.close()
                server.close()
                continue
            link = Link(self, client, server, self._fault)
            self._fault = None
            self.links.append(link)
            link.begin()

    async def _end(self) -> None:
        self._accepting.cancel()
        for link in self.links:
            await link.end()
        self._listener.close()
