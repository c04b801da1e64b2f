"""Putting mounts on hosts right where a host and the ledger differ: what a person has agreed to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlpx_remote.mounts.base import MountFailed, Owner, Placement
from dlpx_remote.mounts.records import MountRecord, mount_name
from dlpx_remote.mounts.service import Mounts
from dlpx_remote.mounts.source import Source
from dlpx_remote.store.ledger import Kind


@dataclass(frozen=True)
class StrayMount:
    """Something of this engine's that is mounted on a host and that the ledger does not name.

    Attributes:
        environment: reference.
        user: reference of the user to unmount through.
        path: where it is mounted.
        source: what is mounted, as the host's mount table has it.
    """

    environment: str
    user: str
    path: str
    source: str

    @property
    def placement(self) -> Placement:
        """The place."""
        return Placement(self.environment, self.user, self.path, None)


class Mending:
    """Repairs of the mounts of one engine.

    Args:
        mounts: of the engine.
        port: of its NFS server.
    """

    def __init__(self, mounts: Mounts, port: int) -> None:
        self._mounts = mounts
        self._port = port

    def is_ours(self, stray: StrayMount, port: str | None) -> bool:
        """Whether it comes from this engine's server, as the host of it is reached now.

        Args:
            stray: the mount.
            port: of the server, as the host's mount table has it; None or 0 is the standard one.

        Raises:
            MountFailed, TransportError: the host could not be asked.
        """
        _, way = self._mounts.reached(stray.placement)
        return Source("nfs", stray.source).server == way.server and (int(port or 0) or 2049) == self._port

    def unmount(self, stray: StrayMount) -> bool:
        """Unmount it; False where the ledger names it by now, or it is gone.

        Raises:
            MountBusy: names the processes that hold it.
            MountFailed, PrivilegeRefused, TransportError: as :meth:`HostMounts.unmount`.
        """
        known = (MountRecord.of(entry.details) for entry in self._mounts.ledger.entries(kind=Kind.MOUNT))
        if any((one.placement.environment, one.path) == (stray.environment, stray.path) for one in known):
            return False
        host, source = self._mounts.host(stray.placement), Source("nfs", stray.source)
        if host.shown(stray.path, source) is None:
            return False
        host.unmount(stray.path, source)
        return True

    def mount_again(self, name: str) -> bool:
        """Mount what the ledger names, with all else of its volume; False where it is not named, or mounted.

        Args:
            name: of the mount in the ledger.

        Raises:
            MountRefused, MountFailed, TransportError: as :meth:`Mounts.attach`.
        """
        ledger = self._mounts.ledger
        entry = ledger.get(Kind.MOUNT, name)
        if entry is None or entry.parent is None:
            return False
        record = MountRecord.of(entry.details)
        if self._mounts.host(record.placement).shown(record.path, record.source) is not None:
            return False
        presentation = ledger.get(Kind.PRESENTATION, entry.parent)
        export = ledger.get(Kind.EXPORT, record.export)
        if presentation is None or export is None:
            raise MountFailed(
                f"{record.path} has no export any more.", "Disable and enable what it belongs to."
            )
        owner = presentation.details["owner"]
        placements = [place for _, place in self._mounts.placed(entry.parent)]
        self._mounts.attach(
            entry.parent,
            Path(presentation.details["directory"]),
            placements,
            owner=Owner(*owner) if owner else None,
            root_squash=export.details["root_squash"],
            job=entry.job,
        )
        return ledger.get(Kind.MOUNT, mount_name(record.placement.environment, record.path)) is not None
