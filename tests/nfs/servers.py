"""NFS servers under test, each with the engine's exporter for it and a host that mounts what it serves."""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import tarfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlpx_remote
from dlpx_remote.demo.loopback import free_port
from dlpx_remote.mounts.base import Export, Exporter, ExportFailed, Served
from dlpx_remote.mounts.ganesha import GaneshaExporter
from dlpx_remote.mounts.ganesha_server import GaneshaServer
from tests.nfs.vm_host import VmHost

EXPORTER_PORT = 9000
"""Of the exporter in a machine; see :mod:`tests.nfs.guest_server`."""

_PATIENCE = 60.0
# What the exporter needs of our package, which the machine lacks: none of it needs more than Python.
_PARTS = (
    "__init__.py",
    "errors.py",
    "redaction.py",
    "mounts/__init__.py",
    "mounts/base.py",
    "mounts/kernel.py",
    "transports/__init__.py",
    "transports/base.py",
    "transports/privilege.py",
)


class NfsServer(ABC):
    """A server, and the machine that mounts from it.

    Attributes:
        client: mounts what is served.
        address: of the server as the client sees it.
        client_address: of the client as the server sees it.
        other_address: of a host that is not the client.
        place: an empty directory on the server's side.
        cannot_write: characters that a directory to be served may not have in its path.
    """

    client: VmHost
    address: str
    client_address: str
    other_address: str
    place: Path
    cannot_write: frozenset[str]

    @abstractmethod
    def exporter(self) -> Exporter:
        """A new one, as of an engine that has just started."""

    @abstractmethod
    def root(self, script: str) -> str:
        """Run a bash script as root where the server is; its stdout."""

    @abstractmethod
    def restart(self) -> None:
        """Kill the server, and start it again with what is on disk."""

    def directory(self, name: str) -> Path:
        """A new directory in :attr:`place` that everybody may write to."""
        path = self.place / name
        self.root(f"mkdir -m 0777 -p {shlex.quote(str(path))}")
        return path

    def export(self, directory: Path, name: str = "one", **changes: Any) -> Export:
        """An export to the client."""
        return Export(**{"name": name, "directory": directory, "clients": (self.client_address,), **changes})

    def mount(self, served: Served, at: str = "/mnt/data") -> None:
        """Mount on the client."""
        options = f"vers={served.version},proto=tcp,hard,timeo=50"
        if served.port is not None:
            options += f",port={served.port}"
        source = shlex.quote(f"{self.address}:{served.path}")
        self.client.root(f"mkdir -p {at}; mount -t nfs -o {options} {source} {at}")

    def unmount(self, at: str = "/mnt/data") -> None:
        """Unmount on the client, whether or not it is mounted."""
        self.client.root(f"! mountpoint -q {at} || umount {at}; rmdir {at}")

    @contextmanager
    def mounted(self, served: Served, at: str = "/mnt/data") -> Iterator[None]:
        """Mounted on the client for the ``with`` block."""
        try:
            self.mount(served, at)
            yield
        finally:
            self.unmount(at)


class KernelServer(NfsServer):
    """The kernel's server in one machine, with the exporter's own code; the other one mounts."""

    cannot_write = frozenset("\\")

    def __init__(self, client: VmHost, server: VmHost) -> None:
        self.client = client
        self._server = server
        self.address, self.client_address, self.other_address = "10.0.9.2", "10.0.9.1", "10.0.9.3"
        self.place = Path("/var/lib/served")

    def start(self) -> None:
        """Bring up the server, and what answers to the exporter's calls."""
        program = Path(__file__).with_name("guest_server.py")
        files = base64.b64encode(_package(program)).decode()
        self.root(
            f"mkdir -p /run/engine /etc/exports.d {self.place}\n"
            f"base64 -d <<'END' | tar -xz -C /run/engine\n{files}\nEND\n"
            "nfsd-up > /dev/null\n"
            f"cd /run/engine; nohup python3 guest_server.py {EXPORTER_PORT} > /run/engine/log 2>&1 &"
        )

    def root(self, script: str) -> str:
        return self._server.root(script)

    def exporter(self) -> Exporter:
        return _RemoteExporter(self._server.vm.forwarded(EXPORTER_PORT))

    def restart(self) -> None:
        self.root("rpc.nfsd 0; killall rpc.mountd; exportfs -f; nfsd-up > /dev/null")


class GaneshaServerHere(NfsServer):
    """NFS-Ganesha on this machine, as the engine runs it; the machine sees it at its gateway.

    Args:
        client: mounts.
        directory: empty.
    """

    cannot_write = frozenset('\\"')

    def __init__(self, client: VmHost, directory: Path) -> None:
        self.client = client
        self.address, self.client_address, self.other_address = client.vm.gateway, "127.0.0.1", "127.0.0.9"
        self.place = directory / "served"
        self.place.mkdir()
        self.server = GaneshaServer(directory / "server", address="127.0.0.1", port=free_port("127.0.0.1"))

    def root(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"exit {done.returncode} from {script!r}: {done.stderr}"
        return done.stdout

    def exporter(self) -> Exporter:
        return GaneshaExporter(self.server)

    def restart(self) -> None:
        former = self.server.process()
        assert former is not None
        os.kill(former, signal.SIGKILL)
        deadline = time.monotonic() + _PATIENCE
        while self.server.process() in (None, former):
            assert time.monotonic() < deadline, "the NFS server was not started again"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.server.stop()


class _RemoteExporter:
    """Passes every call on to the exporter in a machine."""

    kind = "kernel"

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        deadline = time.monotonic() + _PATIENCE
        while True:
            # The port itself answers from the start; what is behind it may not.
            self._connection = socket.create_connection(("127.0.0.1", port), _PATIENCE)
            self._lines = self._connection.makefile("rb")
            try:
                self.names()
                return
            except (OSError, EOFError):
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def maps_owners(self, directory: Path) -> bool:
        return bool(self._call("maps_owners", str(directory)))

    def add(self, export: Export) -> Served:
        told = (export.name, str(export.directory), export.clients, export.root_squash, export.read_only)
        return Served(*self._call("add", *told))

    def remove(self, name: str) -> None:
        self._call("remove", name)

    def names(self) -> frozenset[str]:
        return frozenset(self._call("names"))

    def problems(self) -> tuple[str, ...]:
        return tuple(self._call("problems"))

    def close(self) -> None:
        self._lines.close()
        self._connection.close()

    def _call(self, method: str, *arguments: Any) -> Any:
        with self._lock:
            self._connection.sendall(json.dumps([method, arguments]).encode() + b"\n")
            line = self._lines.readline()
        if not line:
            raise EOFError("the machine's exporter has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise ExportFailed(*answer["error"])
        return answer["result"]


def _package(program: Path) -> bytes:
    """:data:`_PARTS`, and the program that answers calls."""
    package = Path(dlpx_remote.__file__).parent
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for part in _PARTS:
            archive.add(package / part, f"dlpx_remote/{part}")
        archive.add(program, program.name)
    return content.getvalue()
