"""Connections to Windows hosts, shared by all who want the same account on the same host by the same way.

A connection logs in when it is first needed, and looks after its own shells and HTTP connections; what is
left for a pool is to give the same one to all, to let it rest when nobody uses it for long, and to close it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dlpx_remote.transports.base import Deadlines
from dlpx_remote.transports.winrm.target import WinrmTarget

if TYPE_CHECKING:
    from dlpx_remote.transports.ssh.trace import Trace
    from dlpx_remote.transports.winrm.connection import WinrmConnection


class WinrmPool:
    """Makes connections when they are asked for. Safe for several threads.

    Args:
        deadlines: of each connection.
        trace: told of every stage.
        idle: seconds without use after which nothing of a connection is kept on the host; None keeps it.
    """

    def __init__(self, deadlines: Deadlines, trace: Trace | None = None, idle: float | None = None) -> None:
        self._deadlines = deadlines
        self._trace = trace
        self._idle = idle
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._watcher: threading.Thread | None = None
        self._closed = False
        self._connections: dict[WinrmTarget, WinrmConnection] = {}

    def __repr__(self) -> str:
        with self._lock:
            made = [repr(connection) for connection in self._connections.values()]
        return f"<WinrmPool: {', '.join(made) or 'nothing'}>"

    def connection(self, target: WinrmTarget) -> WinrmConnection:
        """The way into ``target``; nothing is opened yet.

        Raises:
            InvalidRequest: the target cannot be used.
        """
        from dlpx_remote.transports.winrm.connection import WinrmConnection  # loads pywinrm

        with self._lock:
            known = self._connections.get(target)
            if known is None:
                known = WinrmConnection(target, self._deadlines, self._trace, self._watch)
                self._connections[target] = known
            return known

    def discard(self, connections: Iterable[WinrmConnection]) -> None:
        """Close these, and give them to nobody any more."""
        leaving = set(connections)
        with self._lock:
            self._connections = {
                target: each for target, each in self._connections.items() if each not in leaving
            }
        for connection in leaving:
            connection.close()

    def close(self) -> None:
        """Close all. Idempotent; raises nothing."""
        with self._lock:
            connections, self._connections = list(self._connections.values()), {}
            watcher, self._watcher = self._watcher, None
            self._closed = True
            self._news.notify_all()
        for connection in connections:
            connection.close()
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join()

    def _watch(self) -> None:
        """Have someone look for connections that nobody uses."""
        with self._lock:
            if self._idle is None or self._watcher is not None or self._closed:
                return
            self._watcher = threading.Thread(
                target=self._let_rest, args=(self._idle,), name="idle Windows connections", daemon=True
            )
            self._watcher.start()

    def _let_rest(self, idle: float) -> None:
        """Runs for as long as anything is kept on a host; wakes up only when something may be due."""
        while True:
            with self._lock:
                now = time.monotonic()
                unused = {
                    connection: since
                    for connection in self._connections.values()
                    if (since := connection.unused_since) is not None
                }
                due = [connection for connection, since in unused.items() if now - since >= idle]
                if not due:
                    if not unused or self._closed:
                        if self._watcher is threading.current_thread():
                            self._watcher = None
                        return
                    self._news.wait(max(0.001, min(unused.values()) + idle - now))
                    continue
            for connection in due:
                connection.rest()
