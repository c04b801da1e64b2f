"""Volumes on the engine's machine as they are served: each a mount of its own, its owner mapped.

A volume's owner is the owner of its own directory. All files of that user are shown as the asked one's, and
what the asked one makes is stored as the owner's: a clone of it is mapped in the same way. Files of other
users are shown as they are stored; only the asked user's own number, if files of it are stored, changes
places with the owner's, so that every file keeps an owner of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlpx_remote.mounts import kernelmounts, mountinfo
from dlpx_remote.mounts.base import Owner, OwnershipFailed
from dlpx_remote.mounts.ownership import change_owner, owner_of

Way = Literal["as stored", "mapped", "changed"]

_HIGHEST = 2**32 - 2
_SETTLING = 3.0
"""Seconds in which a server lets go of a directory that it no longer serves."""


@dataclass(frozen=True)
class Presented:
    """A volume that can be served.

    Attributes:
        directory: what to serve.
        way: how its files came to belong to the asked owner: ``as stored`` (they did already), ``mapped``
            (by the mount), ``changed`` (file by file).
        remarks: a sentence each, for the job.
    """

    directory: Path
    way: Way
    remarks: tuple[str, ...] = ()


class Presentations:
    """The presented volumes of one engine.

    Args:
        directory: where they are mounted, one directory each; made when it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> Path:
        """Where the volume of that name is presented, whether or not it is."""
        return self._directory / name

    def names(self) -> frozenset[str]:
        """What is mounted here, asked of the kernel."""
        prefix = f"{os.path.realpath(self._directory)}/"
        points = (entry.point for entry in mountinfo.here())
        return frozenset(
            p[len(prefix) :] for p in points if p.startswith(prefix) and "/" not in p[len(prefix) :]
        )

    def present(self, name: str, volume: Path, owner: Owner | None, *, mapped: bool = True) -> Presented:
        """Mount a volume here, or see that it is. May be called again after a crash.

        Args:
            name: of the volume.
            volume: its directory.
            owner: whose its files are to be; None leaves them as they are stored.
            mapped: whether whoever serves it honours a mount with mapped owners.

        Raises:
            OwnershipFailed: the files cannot be made to belong to ``owner``.
        """
        if owner is not None and not (0 <= owner.uid <= _HIGHEST and 0 <= owner.gid <= _HIGHEST):
            raise OwnershipFailed(
                f"{owner.uid}:{owner.gid} can own no files.",
                f"A user's or group's number is from 0 to {_HIGHEST}.",
            )
        target = self.path(name)
        try:
            target.mkdir(parents=True, exist_ok=True)
            journal = self._journal(name)
            if owner is None or (owner_of(volume) == owner and not journal.exists()):
                self._mount(name, volume, None)
                return Presented(target, "as stored")
            if mapped and not journal.exists():
                try:
                    self._mount(name, volume, owner)
                    return Presented(target, "mapped")
                except OSError as error:
                    if not kernelmounts.unsupported(error):
                        raise
                    reason = f"this machine cannot map owners on {volume} ({error.strerror})"
            else:
                reason = "the NFS server does not serve mapped owners from this file system"
            started = time.monotonic()
            changed = change_owner(volume, owner, journal)
            self._mount(name, volume, None)
        except OSError as error:
            raise OwnershipFailed(
                f"The volume {name} cannot be presented at {target}: {error.strerror or error}.",
                "The engine has to run as root to mount, on its own machine.",
            ) from error
        remark = (
            f"The owner of {changed} files and directories of {name} was changed one by one, in "
            f"{time.monotonic() - started:.1f} s, because {reason}."
        )
        return Presented(target, "changed", (remark,))

    def withdraw(self, name: str) -> tuple[str, ...]:
        """Present it no longer; what is not presented is no error. Gives back remarks.

        Raises:
            OwnershipFailed: it cannot be unmounted.
        """
        target = self.path(name)
        try:
            remarks = self._unmount(target)
            with contextlib.suppress(FileNotFoundError):
                target.rmdir()
            return remarks
        except OSError as error:
            raise OwnershipFailed(
                f"{target} cannot be taken away: {error.strerror}.",
                "See what uses it on the engine's machine.",
            ) from error

    def _mount(self, name: str, volume: Path, owner: Owner | None) -> None:
        target = self.path(name)
        stored = owner_of(volume)
        shown = owner or stored
        if self._is_there(target, volume, shown):
            return
        self._unmount(target)
        kernelmounts.bind(volume, target, (stored.uid, shown.uid), (stored.gid, shown.gid))

    def _is_there(self, target: Path, volume: Path, shown: Owner) -> bool:
        entries = mountinfo.here()
        place, real = os.path.realpath(target), os.path.realpath(volume)
        mounted = mountinfo.at(entries, place)
        beneath = mountinfo.holding([entry for entry in entries if entry.point != place], real)
        if len(mounted) != 1 or beneath is None:
            return False
        same = (mounted[0].device, mounted[0].root) == (beneath.device, mountinfo.within(beneath, real))
        return same and owner_of(target) == shown

    def _unmount(self, target: Path) -> tuple[str, ...]:
        """Whatever is mounted there, however often: the place is the engine's own."""
        place = os.path.realpath(target)
        until = time.monotonic() + _SETTLING
        while mountinfo.at(mountinfo.here(), place):
            try:
                kernelmounts.unmount(target)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                if time.monotonic() >= until:
                    kernelmounts.unmount(target, lazy=True)
                    return (f"{target} was still used on the engine's machine, and was unmounted lazily.",)
                time.sleep(0.02)
        return ()

    def _journal(self, name: str) -> Path:
        return self._directory / f".{name}.owner"
