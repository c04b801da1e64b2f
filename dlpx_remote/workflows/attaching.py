"""From a plugin's mount specification to mounts on hosts: whose they are there, and what cannot be meant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from dlpx_remote.environments.model import Environment, HostType
from dlpx_remote.errors import NotFound, RemoteError
from dlpx_remote.mounts.base import Mounted, Mounting, Owner, Placement
from dlpx_remote.transports.base import Connection
from dlpx_remote.workflows.sources import Footing, Mount, Source

FindEnvironment = Callable[[str], Environment]
Connect = Callable[[str, str], Connection]

_LONGEST_LOCK = 400  # characters that the state keeps of a lock's name


class MountNotPossible(RemoteError):
    """A plugin asked for a mount on an environment that the engine does not know."""


class OwnerUnknown(RemoteError):
    """Nobody knows to whom the files are to belong: neither the plugin nor the host said so."""


def mount_locks(footing: Footing, find: FindEnvironment) -> list[str]:
    """What a job keeps for itself of the hosts on which a footing is mounted: ``mount demo2:/srv/data``.

    Args:
        footing: with the mounts that its plugin specified.
        find: an environment by reference; one that is not there any more is called by that.
    """
    return [_mount_lock(mount, find) for mount in footing.mounts]


def _mount_lock(mount: Mount, find: FindEnvironment) -> str:
    try:
        where = find(mount.environment).name
    except NotFound:
        where = mount.environment
    path = "/".join(part for part in mount.mount_path.split("/") if part not in ("", "."))
    lock = f"mount {where}:/{path}"
    if len(lock) <= _LONGEST_LOCK:
        return lock
    return f"{lock[: _LONGEST_LOCK - 20]}…{hashlib.sha256(lock.encode()).hexdigest()[:12]}"


class Attaching:
    """Puts what a source stands on where its plugin wants it.

    Args:
        mounts: who mounts.
        find: an environment by reference.
        connect: the connection of a user on an environment, by references.
    """

    def __init__(self, mounts: Mounting, find: FindEnvironment, connect: Connect) -> None:
        self._mounts = mounts
        self._find = find
        self._connect = connect

    def attach(
        self, source: Source, footing: Footing, directory: Path, *, root_squash: bool, job: str
    ) -> list[Mounted]:
        """Mount a volume as the source's plugin specified; nothing is done where that is in force already.

        Args:
            source: whose plugin specified the mounts.
            footing: the volume, its mounts and their owner.
            directory: the volume's files.
            root_squash: whether the host's root is nobody on it.
            job: reference of the job.

        Raises:
            MountNotPossible: a mount is on an environment that nobody has added.
            OwnerUnknown: there is no owner to be had.
            MountError, TransportError: it could not be mounted; nothing of it is left.
        """
        placements = self._placements(source, footing)
        present = self._mounts.attached(footing.volume)
        if present and {each.placement for each in present} == set(placements):
            return present
        return self._mounts.attach(
            footing.volume,
            directory,
            placements,
            owner=self._owner(source, footing, placements),
            root_squash=root_squash,
            job=job,
        )

    def in_force(self, source: Source, footing: Footing) -> bool:
        """Whether every mount that was specified last is there."""
        if not footing.mounts:
            return False
        present = {each.placement for each in self._mounts.attached(footing.volume)}
        return set(self._placements(source, footing)) <= present

    def detach(self, volume: str, *, force: bool, job: str) -> tuple[str, ...]:
        """Take away everything that was mounted of a volume; gives remarks."""
        return self._mounts.detach(volume, force=force, job=job)

    def _placements(self, source: Source, footing: Footing) -> list[Placement]:
        environment, user = source.place
        return [
            Placement(
                mount.environment,
                user if mount.environment == environment else self._primary(source, mount.environment),
                mount.mount_path,
                mount.shared_path or None,
            )
            for mount in footing.mounts
        ]

    def _primary(self, source: Source, environment: str) -> str:
        try:
            return self._find(environment).primary_user.reference
        except NotFound as error:
            raise MountNotPossible(
                f"The plugin {source.plugin_name} asked for a mount on {environment}, "
                "which is no environment of this engine.",
                f"Add it, or correct the plugin's mount_specification. {error.action}",
            ) from None

    def _owner(self, source: Source, footing: Footing, placements: Sequence[Placement]) -> Owner | None:
        """Who the plugin says, else the environment user; Windows has no such owners."""
        unix = [each for each in placements if self._find(each.environment).host_type is not HostType.WINDOWS]
        if not unix:
            return None
        if footing.owner is not None:
            return Owner(*footing.owner)
        environment, user = source.place
        facts = self._connect(environment, user).facts()
        if facts.uid is None or facts.gid is None:
            raise OwnerUnknown(
                f"{facts.user} on {self._find(environment).name} has no user and group number "
                "to whom the files could belong.",
                "Have the plugin return an OwnershipSpecification.",
            )
        return Owner(facts.uid, facts.gid)
