"""An engine's mounts over hosts that are this machine, without the engine: a ledger, volumes, connections."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from dlpx_remote.mounts.base import Exporter, Placement, Reach
from dlpx_remote.mounts.local import LocalExporter
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.mounts.service import Mounts
from dlpx_remote.store.database import Store
from dlpx_remote.store.ledger import Kind, Ledger
from dlpx_remote.transports.base import Connection
from dlpx_remote.transports.privilege import Privilege
from dlpx_remote.transports.ssh import SshTarget, connect


class World:
    """Hosts by name, each a way in; also :class:`dlpx_remote.mounts.base.Hosts`.

    Args:
        directory: for the state and the volumes.
        targets: the ways in, by environment.
        nfs: the NFS server; None has none.
    """

    def __init__(self, directory: Path, targets: dict[str, SshTarget], nfs: Exporter | None = None) -> None:
        self.directory = directory
        self.reaches: dict[str, Reach] = {name: Reach(name, address="127.0.0.1") for name in targets}
        self._targets = targets
        self._stack = ExitStack()
        self._connections: dict[str, Connection] = {}
        self.pool = directory / "pool"
        self.store = Store(directory / "state")
        self._stack.callback(self.store.close)
        self.ledger = Ledger(self.store)
        self.presentations = Presentations(directory / "state" / "present")
        self.local = LocalExporter(directory / "state" / "exports")
        self._nfs = nfs
        self.mounts = Mounts(self.ledger, self, self.presentations, self.local, self.nfs)

    def nfs(self, _kind: str | None) -> Exporter:
        assert self._nfs is not None
        return self._nfs

    def connection(self, environment_reference: str, user_reference: str) -> Connection:
        known = self._connections.get(environment_reference)
        if known is None or not known.is_open:
            known = self._stack.enter_context(connect(self._targets[environment_reference]))
            self._connections[environment_reference] = known
        return known

    def disconnect(self) -> None:
        """Leave nothing running on the hosts; the next use connects anew."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def privilege(self, environment_reference: str, user_reference: str) -> Privilege:
        return Privilege()

    def reach(self, environment_reference: str) -> Reach:
        return self.reaches[environment_reference]

    def volume(self, name: str) -> Path:
        """A volume with a few files, known to the ledger."""
        directory = self.pool / name
        for inside in ("", "data", "log", "log/deep"):
            (directory / inside).mkdir(parents=True, exist_ok=True)
            (directory / inside / "file").write_text(f"{name}:{inside}")
        self.ledger.intend(Kind.VOLUME, name)
        self.ledger.present(Kind.VOLUME, name)
        return directory

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def at(path: Path | str, environment: str = "here", shared: str | None = None) -> Placement:
    """A placement."""
    return Placement(environment, "user", str(path), shared)
