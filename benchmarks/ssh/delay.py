"""A TCP proxy on loopback that makes the way long: every byte arrives half a round trip after it was sent.

It only delays. It neither limits nor reorders, and it knows nothing of what passes through.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

_PIECE = 256 * 1024

_Piece = tuple[float, bytes]


@contextlib.contextmanager
def delayed(host: str, port: int, round_trip: float) -> Iterator[int]:
    """Forward a new port on 127.0.0.1 to ``host:port``, and stop at the end.

    Args:
        host, port: where to.
        round_trip: seconds; half of them each way.

    Yields:
        The port to connect to.
    """
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    connections: set[asyncio.Future[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_carry(reader, writer, host, port, round_trip / 2))
        connections.add(task)
        task.add_done_callback(connections.discard)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task

    server = loop.run_until_complete(asyncio.start_server(accept, sock=listener))
    thread = threading.Thread(target=loop.run_forever, name="delay", daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:

        async def stop() -> None:
            server.close()
            for task in list(connections):
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, delay: float
) -> None:
    there, back = await asyncio.open_connection(host, port)
    for end in (writer, back):
        # asyncio leaves it out for sockets that were accepted; the way may be long, but it must not stutter.
        end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ways = [
        asyncio.ensure_future(_one_way(reader, back, delay)),
        asyncio.ensure_future(_one_way(there, writer, delay)),
    ]
    try:
        await asyncio.gather(*ways)
    finally:
        for way in ways:
            way.cancel()
        for end in (writer, back):
            end.close()


async def _one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass pieces on, each when its time has come; an end of file keeps its place in the queue."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[_Piece] = asyncio.Queue()

    async def send() -> None:
        while True:
            due, piece = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    sender = asyncio.ensure_future(send())
    try:
        while True:
            try:
                piece = await reader.read(_PIECE)
            except OSError:
                piece = b""
            queue.put_nowait((loop.time() + delay, piece))
            if not piece:
                break
        with contextlib.suppress(OSError):
            await sender
    finally:
        sender.cancel()
