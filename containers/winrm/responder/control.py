"""The control port: what a test in another process does with a host, as JSON over HTTP.

``GET`` ``/counts``, ``/exchanges``, ``/troubles``, ``/about``; ``POST`` ``/users``, ``/rules``,
``/troubles``, ``/forget-shells``, ``/cut-connections``; ``DELETE`` ``/troubles``.
:class:`~.remote.RemoteHost` speaks it. It has no authentication: it belongs on a port that only the test can
reach.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import scenario
from .host import WinRMHost

_LARGEST = 1 << 24


class Control:
    """The control port of a host, for a ``with`` block.

    Args:
        host: that is controlled.
        about: facts for ``/about``, such as the authority's certificate.
        address, port: to listen on.
    """

    def __init__(self, host: WinRMHost, about: dict[str, str], address: str, port: int) -> None:
        self._server = _Server((address, port), _Handler)
        self._server.host = host
        self._server.about = about
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Control:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    host: WinRMHost
    about: dict[str, str]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        """Tell."""
        host = self.server.host
        self._do(
            {
                "/counts": lambda _: host.counts.as_record(),
                "/exchanges": lambda _: [exchange.as_record() for exchange in host.exchanges],
                "/troubles": lambda _: [dataclasses.asdict(trouble) for trouble in host.troubles.pending],
                "/about": lambda _: self.server.about,
            }
        )

    def do_POST(self) -> None:
        """Change."""
        host = self.server.host

        def add_user(content: Any) -> None:
            if not isinstance(content, dict) or set(content) != {"name", "password"}:
                raise scenario.BadScenario("A user has a 'name' and a 'password'.")
            host.accounts.add(str(content["name"]), str(content["password"]))

        self._do(
            {
                "/users": add_user,
                "/rules": lambda content: host.rules.add(scenario.rule(content)),
                "/troubles": lambda content: host.troubles.add(scenario.trouble(content)),
                "/forget-shells": lambda _: host.forget_shells(),
                "/cut-connections": lambda _: host.cut_connections(),
            }
        )

    def do_DELETE(self) -> None:
        """Forget."""
        self._do({"/troubles": lambda _: self.server.host.troubles.clear()})

    def _do(self, table: dict[str, Callable[[Any], Any]]) -> None:
        try:
            length = min(int(self.headers.get("Content-Length") or 0), _LARGEST)
            content = json.loads(self.rfile.read(length)) if length else None
            act = table.get(self.path)
            if act is None:
                self._reply(404, {"error": f"There is no {self.command} {self.path}."})
                return
            self._reply(200, act(content))
        except (scenario.BadScenario, ValueError) as error:
            self._reply(400, {"error": str(error)})

    def _reply(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.0 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)
