"""Runs in a virtual machine: the exporter of the kernel's NFS server, called from the tests over a socket.

A call is a line: method and arguments, as JSON; the answer is a line, too. A new exporter serves each
connection, as after a restart of the engine.
"""

from __future__ import annotations

import json
import socketserver
import sys
from pathlib import Path
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.mounts.base import Export
from dlpx_remote.mounts.kernel import KernelExporter


class Calls(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        exporter = KernelExporter()
        for line in self.rfile:
            method, arguments = json.loads(line)
            try:
                answer: Any = {"result": call(exporter, method, arguments)}
            except RemoteError as error:
                answer = {"error": [error.message, error.action, error.output]}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True


def call(exporter: KernelExporter, method: str, arguments: list[Any]) -> Any:
    """Make a call; its result in JSON's terms."""
    if method == "add":
        name, directory, clients, root_squash, read_only = arguments
        served = exporter.add(Export(name, Path(directory), tuple(clients), root_squash, read_only))
        return [served.file_system, served.path, served.port, served.version]
    if method == "maps_owners":
        return exporter.maps_owners(Path(arguments[0]))
    result = getattr(exporter, method)(*arguments)
    return sorted(result) if isinstance(result, frozenset) else result


if __name__ == "__main__":
    Server(("", int(sys.argv[1])), Calls).serve_forever()
