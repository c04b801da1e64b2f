"""The contract between a pool of volumes and what it lies on, and the errors of this room.

A *volume* is a directory tree under a name: a data set, a read-only snapshot of one, or a writable clone of
a snapshot. A :class:`Backend` makes and removes volumes and knows no rules; the rules (what depends on what,
what the ledger must say before and after) are the pool's, so that every back end obeys the same ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dlpx_remote.errors import InvalidRequest, RemoteError

VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""What a volume may be called: safe as a file name, in a command line and in an export's path."""


@dataclass(frozen=True)
class Size:
    """What a volume takes.

    Attributes:
        logical: bytes that its files hold, shared or not.
        own: bytes that would come free if it alone were deleted; None where the back end cannot tell.
    """

    logical: int
    own: int | None


@dataclass(frozen=True)
class Health:
    """The state of a back end.

    Attributes:
        total: bytes of the file system beneath.
        free: bytes that can still be written.
        problems: one sentence each of what is wrong and what to do; empty when all is well.
    """

    total: int
    free: int
    problems: tuple[str, ...] = ()


class Backend(Protocol):
    """A place for volumes. Every method may be called again after a crash and then ends in the same state.

    Names fit :data:`VOLUME_NAME`. A method that fails leaves no half volume behind.
    """

    @property
    def kind(self) -> str:
        """``btrfs``, ``reflink`` or ``copy``."""

    @property
    def cheap_clones(self) -> bool:
        """Whether the cost of a clone is independent of the size of its data."""

    def path(self, name: str) -> Path:
        """Where the volume's files are, whether or not it exists."""

    def names(self) -> frozenset[str]:
        """Every volume that is there, whoever made it."""

    def create(self, name: str, record_size: int | None = None) -> None:
        """Make an empty volume.

        Args:
            name: of the volume.
            record_size: bytes of a record of the data to come, where the back end can use it.
        """

    def snapshot(self, source: str, name: str) -> None:
        """Keep the present state of ``source``, read-only."""

    def clone(self, snapshot: str, name: str) -> None:
        """Make a writable volume with the state of ``snapshot``."""

    def delete(self, name: str) -> None:
        """Remove the volume; one that is not there is no error."""

    def size(self, name: str) -> Size:
        """What the volume takes."""

    def health(self) -> Health:
        """What can still be written, and what is wrong."""


class StorageError(RemoteError):
    """Something went wrong with the storage of data sets."""


class BackendUnavailable(StorageError):
    """The pool's file system, its device or a program that it needs is not there."""


class PoolFull(StorageError):
    """There is no room left; what was begun has been taken away again."""


class VolumeMissing(StorageError):
    """A volume that the ledger names is not there."""


class VolumeExists(StorageError):
    """Something that the ledger does not name lies where a volume should be made."""


class VolumeInUse(InvalidRequest):
    """Something still depends on the volume: clones, snapshots, exports."""

    def __init__(self, message: str, action: str = "", *, dependants: tuple[str, ...] = ()) -> None:
        super().__init__(message, action)
        self.dependants = dependants
