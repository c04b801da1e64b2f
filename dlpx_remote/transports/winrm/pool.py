"""Connections to Windows hosts, shared by all who want the same account on the same host by the same way.

A connection logs in when it is first needed, and looks after its own shells and HTTP connections; what is
left for a pool is to give the same one to all, and to close it.
"""

from __future__ import annotations

import threading
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
    """

    def __init__(self, deadlines: Deadlines, trace: Trace | None = None) -> None:
        self._deadlines = deadlines
        self._trace = trace
        self._lock = threading.Lock()
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
                known = self._connections[target] = WinrmConnection(target, self._deadlines, self._trace)
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
        for connection in connections:
            connection.close()
