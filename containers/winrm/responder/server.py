"""The listening side of the host: TCP connections, TLS, and what is counted. Requests are ``handler``'s."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from socketserver import BaseRequestHandler
from typing import TYPE_CHECKING, Any

from .authentication import Accounts
from .records import Exchange
from .shells import Service
from .troubles import Troubles

if TYPE_CHECKING:
    from spnego.channel_bindings import GssChannelBindings

_STOP_PATIENCE = 5.0


@dataclass(frozen=True)
class Settings:
    """How a host presents itself over HTTP.

    Attributes:
        schemes: offered, in the order in which they are offered.
        unencrypted: plain messages are taken over HTTP, and Basic is offered there (``AllowUnencrypted``).
        clock_skew: seconds that the host's clock is ahead, as in its ``Date`` headers.
        records: number of exchanges that are remembered; 0 for none.
        strict_bindings: over HTTPS, Negotiate clients have to present the channel bindings of its certificate
            (``CbtHardeningLevel=Strict``); else those are not looked at. Of NTLM only.
        keytab: file with the key of the service ``HTTP`` at this host's name: Negotiate takes Kerberos
            tickets too. The realm is what ``KRB5_CONFIG`` of this process says. Empty for none.
    """

    schemes: tuple[str, ...] = ("Negotiate", "Basic")
    unencrypted: bool = True
    clock_skew: float = 0.0
    records: int = 1000
    strict_bindings: bool = False
    keytab: str = ""


@dataclass
class Traffic:
    """Counts of the HTTP side, and the exchanges. Guarded by ``lock``."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    connections: int = 0
    connections_open: int = 0
    requests: int = 0
    unauthorized: int = 0
    exchanges: deque[Exchange] = field(default_factory=deque)


class Server(ThreadingHTTPServer):
    """Answers on one port, each connection in a thread of its own. Ports of one host share all but TLS."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseRequestHandler],
        *,
        service: Service,
        accounts: Accounts,
        troubles: Troubles,
        settings: Settings,
        traffic: Traffic,
        tls: ssl.SSLContext | None,
        bindings: GssChannelBindings | None,
    ) -> None:
        self.service = service
        self.accounts = accounts
        self.troubles = troubles
        self.settings = settings
        self.tls = tls
        self.bindings = bindings
        self.traffic = traffic
        self.stopping = threading.Event()
        self._sockets: dict[socket.socket, int] = {}
        self._wrapped: dict[socket.socket, ssl.SSLSocket] = {}
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection; its TLS handshake is left to its own thread."""
        connection, address = super().get_request()
        with self.traffic.lock:
            self.traffic.connections += 1
            self._sockets[connection] = self.traffic.connections
            self.traffic.connections_open += 1
        return connection, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.traffic.lock:
                self._sockets.pop(request, None)
                self._wrapped.pop(request, None)
                self.traffic.connections_open -= 1

    def shake_hands(self, connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        """Put TLS around a connection."""
        # A connection on which nothing is said must still end with the host.
        wrapped = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self.traffic.lock:
            self._wrapped[connection] = wrapped
        wrapped.do_handshake()
        return wrapped

    def number(self, connection: socket.socket) -> int:
        """Number of a connection, from 1."""
        with self.traffic.lock:
            return self._sockets.get(connection, 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that end in an error are a test's daily bread: nothing is printed."""

    def cut_connections(self) -> None:
        """End all connections that are open."""
        with self.traffic.lock:
            sockets = [self._wrapped.get(plain, plain) for plain in self._sockets]
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Take no more connections, end those that are open, and wait for their threads."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        deadline = time.monotonic() + _STOP_PATIENCE
        while time.monotonic() < deadline:
            self.cut_connections()
            with self.traffic.lock:
                if not self._sockets:
                    break
            time.sleep(0.005)
