"""Talking to a running NFS-Ganesha over its message bus (D-Bus)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from dlpx_remote.mounts.base import ExportFailed

_PATIENCE = 10.0
_NOT_THERE = ("ServiceUnknown", "NameHasNoOwner")
_AWAY = (*_NOT_THERE, "NoReply", "Disconnected")


class ServerAway(ExportFailed):
    """No server answers on the bus.

    Attributes:
        gone: the bus itself says that no server is there.
    """

    gone = False


class ExportManager:
    """The server's list of exports. Not for several threads at once.

    Args:
        address: of the bus.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: Any = None

    def add(self, file: Path, number: int) -> str:
        """Serve the export of that number in a configuration file; gives back what speaks against it."""
        return self._call("AddExport", "ss", (str(file), f"EXPORT(Export_Id={number})"))[1]

    def remove(self, number: int) -> str:
        """Serve it no longer; gives back what speaks against it."""
        return self._call("RemoveExport", "q", (number,))[1]

    def numbers(self) -> frozenset[int]:
        """Of all exports."""
        body, refusal = self._call("ShowExports")
        if refusal:
            raise ServerAway(f"The NFS server does not say what it serves: {refusal}")
        return frozenset(int(export[0]) for export in body[1])

    def close(self) -> None:
        """Let go of the bus. The next call connects anew."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    def _call(
        self, method: str, signature: str | None = None, body: tuple[Any, ...] = ()
    ) -> tuple[tuple[Any, ...], str]:
        """Body of the answer, and the server's words when it is a refusal.

        Raises:
            ServerAway: nobody answered; whether a change was made is not known.
        """
        # only where this server is used
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
        from jeepney.io.blocking import open_dbus_connection

        known = self._connection is not None
        address = DBusAddress("/org/ganesha/nfsd/ExportMgr", "org.ganesha.nfsd", "org.ganesha.nfsd.exportmgr")
        try:
            if self._connection is None:
                self._connection = open_dbus_connection(self._address)
            reply = self._connection.send_and_get_reply(
                new_method_call(address, method, signature, body), timeout=_PATIENCE
            )
        except (OSError, EOFError, ValueError) as error:
            self.close()
            if known:
                # The bus may be a new one. Every call may be made twice.
                return self._call(method, signature, body)
            raise ServerAway(f"The NFS server does not answer: {error or type(error).__name__}.") from error
        if reply.header.message_type is not MessageType.error:
            return tuple(reply.body), ""
        name = str(reply.header.fields.get(HeaderFields.error_name, ""))
        words = " ".join(str(word) for word in reply.body)
        if name.endswith(_AWAY):
            away = ServerAway(f"The NFS server does not answer: {words}.")
            away.gone = name.endswith(_NOT_THERE)
            raise away
        return (), words or name
