"""Ports where no WinRM answers: what clients meet that were given the wrong port."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

Kind = Literal["ssh", "web", "silent", "garbage", "closing", "closed"]
"""``ssh``: an SSH banner. ``web``: a web server that answers 404. ``silent``: takes connections and says
nothing. ``garbage``: 128 KiB of zeros. ``closing``: takes connections and ends them. ``closed``: nobody
listens."""

_SAYS: dict[str, bytes] = {
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
    "garbage": bytes(1 << 17),
}
_PAGE = b"<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>"
_NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Type: text/html\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_PAGE), _PAGE)
)


class Stranger:
    """A port of something else, for a ``with`` block.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Stranger:
        if self._kind == "closed":
            self._listener.close()
        else:
            self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        if self._kind != "closed":
            self._accepting.join()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(_SAYS.get(self._kind, b""))
            if self._kind == "web":
                connection.recv(1 << 16)
                connection.sendall(_NOT_FOUND)
            if self._kind in {"web", "closing"}:
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
