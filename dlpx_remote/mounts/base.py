"""The contracts of this room: who serves a directory, which hosts there are, what a mount is; and its errors.

The way of a data set to a host: its directory on the engine's machine is *presented* (a mount of its own
there, in which ownership is mapped), the presented directory is *exported* to one host, and the host *mounts*
the export. It is taken away in the opposite order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.transports.base import Connection
from dlpx_remote.transports.privilege import Privilege


@dataclass(frozen=True)
class Owner:
    """Who owns a data set's files as a host sees them: numeric user and group."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Export:
    """One directory of the engine's machine, served to one host.

    Attributes:
        name: identifies it in the ledger; letters, digits, ``_``, ``.`` and ``-``.
        directory: what is served, absolute.
        clients: addresses (or networks in CIDR form) under which the server sees the host.
        root_squash: whether the host's root is nobody on the data set.
        read_only: whether the host may only read.
    """

    name: str
    directory: Path
    clients: tuple[str, ...]
    root_squash: bool = True
    read_only: bool = False


@dataclass(frozen=True)
class Served:
    """Where an export is to be mounted from.

    Attributes:
        file_system: ``nfs`` or, on the engine's own machine, ``bind``.
        path: the remote path (``nfs``), or the directory (``bind``).
        port: of the NFS server; None for the standard one.
        version: the highest NFS version that the server offers, ``4.1`` or ``3``.
    """

    file_system: str
    path: str
    port: int | None = None
    version: str = "4.1"


class Exporter(Protocol):
    """A server of directories. Every method may be called again after a crash and ends in the same state."""

    @property
    def kind(self) -> str:
        """``ganesha``, ``kernel`` or ``local`` (the host is the engine's own machine)."""

    def maps_owners(self, directory: Path) -> bool:
        """Whether files of a mount of ``directory`` with mapped owners (idmapped) are served with those."""

    def add(self, export: Export) -> Served:
        """Serve a directory. What is needed to serve it again after a restart is on disk first."""

    def remove(self, name: str) -> None:
        """Serve it no longer; a name that is not served is no error."""

    def names(self) -> frozenset[str]:
        """What this engine's exporter serves at present, asked of the server itself."""

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the server, a sentence each; empty when it answers."""

    def close(self) -> None:
        """Let go of the server. Exports stay served."""


@dataclass(frozen=True)
class Reach:
    """How a host and the NFS server reach each other.

    Attributes:
        name: of the environment, for people.
        windows: whether it is a Windows host.
        address: name or address by which the engine reaches the host; empty where another host is between.
        server: the server's address as the host sees it; None takes the one from which the engine's own
            connection comes.
        clients: addresses or networks under which the server sees the host; empty takes ``address``, or what
            the host calls itself.
        options: mount options in place of the usual ones; empty for those.
    """

    name: str
    windows: bool = False
    address: str = ""
    server: str | None = None
    clients: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Hosts(Protocol):
    """What this room must know of environments; whoever knows them provides it."""

    def reach(self, environment_reference: str) -> Reach:
        """How the host and the NFS server reach each other."""

    def connection(self, environment_reference: str, user_reference: str) -> Connection:
        """An open connection as that user."""

    def privilege(self, environment_reference: str, user_reference: str) -> Privilege:
        """How that user becomes root there."""


@dataclass(frozen=True)
class Placement:
    """Where a part of a data set is to appear on a host.

    Attributes:
        environment: reference of the environment.
        user: reference of the environment user through whom it is mounted.
        mount_path: absolute path of the directory on the host.
        shared_path: path within the data set; None or empty for all of it.
    """

    environment: str
    user: str
    mount_path: str
    shared_path: str | None = None


@dataclass(frozen=True)
class Mounted:
    """A placement that is in force.

    Attributes:
        placement: what was asked.
        source: what the host's mount table shows, for example ``10.0.0.1:/dlpx/VDB-3``.
        options: the options in force, from the host's mount table.
        version: the NFS version in use; ``""`` for a bind mount.
        remarks: what a person ought to know: a lower version than asked, an unmount that had to be lazy.
    """

    placement: Placement
    source: str
    options: str
    version: str
    remarks: tuple[str, ...] = ()


class Mounting(Protocol):
    """What workflows ask of this room.

    The steps of each call are in the ledger (intent before effect), so a call that was cut off may be made
    again, or undone by :meth:`detach`, in another process.
    """

    def attach(
        self,
        volume: str,
        directory: Path,
        placements: Sequence[Placement],
        *,
        owner: Owner | None,
        root_squash: bool = True,
        job: str | None = None,
    ) -> list[Mounted]:
        """Present, export and mount; in the order given, nested paths right whatever the order.

        Args:
            volume: name of the volume; everything made is kept under it.
            directory: the volume's files on the engine's machine.
            placements: where to.
            owner: who owns the files there; None leaves ownership as it is stored.
            root_squash: as ``Export.root_squash``.
            job: reference of the job, for the ledger.

        Raises:
            MountRefused, MountFailed, ExportFailed, OwnershipFailed: what this call made is taken away again.
        """

    def detach(self, volume: str, *, force: bool = False, job: str | None = None) -> tuple[str, ...]:
        """Unmount, withdraw and take away the presented directory: all that :meth:`attach` made.

        Idempotent: what is gone is no error.

        Args:
            volume: name of the volume.
            force: go on to ``umount -f`` and ``umount -l`` where the mount is busy, and leave a host behind
                that cannot be reached.
            job: reference of the job, for the ledger.

        Returns:
            Remarks, a sentence each: what was forced and why.

        Raises:
            MountBusy: names the processes; only without ``force``.
        """

    def attached(self, volume: str) -> list[Mounted]:
        """What is mounted where, asked of the hosts."""

    def recover(self, running: Callable[[str], bool] | None = None) -> tuple[str, ...]:
        """After a start: undo what was begun, finish what was to go, and serve again what should be served.

        Args:
            running: whether a job of that reference is at work; what it began is left to it. None: none is.

        Returns:
            Remarks, a sentence each: what was done, and what could not be.
        """


class MountError(RemoteError):
    """Something went wrong between a data set and a host's directory."""


class ExportFailed(MountError):
    """The NFS server is not there, or refused."""


class MountFailed(MountError):
    """The host could not mount; says what mount said there."""


class MountUnderWay(MountFailed):
    """A mount that was begun earlier is still at work on the host, because its server does not answer."""


class MountBusy(MountError):
    """Processes on the host still use the mount; names them."""


class OwnershipFailed(MountError):
    """The files could not be made to belong to the user that was asked for."""


class MountRefused(InvalidRequest):
    """The mount cannot be meant: a relative path, ``..``, something else there, an NFS mount on Windows."""
