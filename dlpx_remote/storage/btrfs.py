"""Volumes as Btrfs subvolumes: a snapshot or clone takes milliseconds and no space, whatever is in it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from dlpx_remote.storage import btrfs_calls
from dlpx_remote.storage.base import BackendUnavailable, Health, Size, StorageError
from dlpx_remote.storage.failures import failures
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.room import room
from dlpx_remote.storage.sizes import shared_size

SYSTEM_FILES = Path("/sys/fs/btrfs")

_PERMISSIONS = 0o755


class BtrfsBackend:
    """A back end on a directory of a Btrfs file system.

    Btrfs has no record size: its blocks are those that the file system was made with, and what is written
    anew is as large as the write.

    Args:
        place: the directory of the pool.
    """

    kind = "btrfs"
    cheap_clones = True

    def __init__(self, place: Place) -> None:
        self.place = place

    def path(self, name: str) -> Path:
        """See :class:`~dlpx_remote.storage.base.Backend`, here and below."""
        return self.place.path(name)

    def names(self) -> frozenset[str]:
        """What lies in the pool's directory."""
        return self.place.names()

    def create(self, name: str, record_size: int | None = None) -> None:  # noqa: ARG002
        """An empty subvolume; ``record_size`` has no meaning here."""
        path = self._checked(name)
        with failures(f"The volume {name} could not be made", self.place.root), self._volumes() as volumes:
            try:
                btrfs_calls.create(volumes, name)
            except FileExistsError:
                if not _is_subvolume(path):
                    raise
            path.chmod(_PERMISSIONS)
            btrfs_calls.synchronize(volumes)

    def snapshot(self, source: str, name: str) -> None:
        """A read-only snapshot."""
        self._snapshot(source, name, read_only=True)

    def clone(self, snapshot: str, name: str) -> None:
        """A writable snapshot of a snapshot."""
        self._snapshot(snapshot, name, read_only=False)

    def delete(self, name: str) -> None:
        """Delete the subvolume, and those that somebody has made within it.

        The kernel frees the space afterwards, in the background.
        """
        path = self._checked(name)
        with failures(f"The volume {name} could not be deleted", self.place.root), self._volumes() as volumes:
            if not os.path.lexists(path):
                return
            if not _is_subvolume(path):
                raise StorageError(
                    f"{path} is no Btrfs subvolume, so the engine did not make it.",
                    "See what it is, and move it out of the pool.",
                )
            _destroy(volumes, name.encode())
            btrfs_calls.synchronize(volumes)

    def size(self, name: str) -> Size:
        """Asks for every extent of every file, which takes some twenty seconds for a million of them."""
        with failures(f"The size of {name} could not be found", self.place.root):
            return shared_size(self._checked(name))

    def health(self) -> Health:
        """Room, and the errors that Btrfs has counted on its devices."""
        self.place.check()
        with failures("The state of the pool could not be found", self.place.root):
            total, free, problems = room(self.place.root)
            with btrfs_calls.opened(self.place.root) as root:
                problems += device_problems(btrfs_calls.file_system(root))
        return Health(total, free, tuple(problems))

    def _snapshot(self, source: str, name: str, *, read_only: bool) -> None:
        origin, path = self._checked(source), self.path(name)
        what = f"The {'snapshot' if read_only else 'clone'} {name} of {source} could not be made"
        with (
            failures(what, self.place.root),
            self._volumes() as volumes,
            btrfs_calls.opened(origin) as opened,
        ):
            within = btrfs_calls.children(opened)
            if within:
                raise StorageError(
                    f"{what}: it holds Btrfs subvolumes of its own, which a snapshot would leave empty: "
                    f"{', '.join(os.fsdecode(each) for each in within)}.",
                    "Replace them by directories with the same content.",
                )
            try:
                btrfs_calls.snapshot(opened, volumes, name, read_only=read_only)
            except FileExistsError:
                if not _is_subvolume(path):
                    raise

    def _volumes(self) -> contextlib.AbstractContextManager[int]:
        return btrfs_calls.opened(self.place.volumes)

    def _checked(self, name: str) -> Path:
        self.place.check()
        return self.path(name)


def is_btrfs(directory: Path) -> bool:
    """Whether a directory lies on a Btrfs file system."""
    with failures("The file system could not be looked at", directory), btrfs_calls.opened(directory) as root:
        try:
            btrfs_calls.file_system(root)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return False
        return True


def require_btrfs(directory: Path) -> None:
    """That subvolumes can be made in ``directory``.

    Raises:
        BackendUnavailable: it does not lie on Btrfs.
    """
    if not is_btrfs(directory):
        raise BackendUnavailable(
            f"{directory} does not lie on a Btrfs file system.",
            "Choose another back end (reflink or copy), or let dlpx-remote storage init make a Btrfs "
            "file system: --image FILE --size SIZE, or --device DEVICE.",
        )


def _is_subvolume(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and path.stat().st_ino == btrfs_calls.FIRST_INODE


def _destroy(parent: int, name: bytes) -> None:
    """The subvolume with all those within it, innermost first."""
    with btrfs_calls.opened(os.fsdecode(name), parent) as subvolume:
        within = btrfs_calls.children(subvolume)
        if within:
            btrfs_calls.make_writable(subvolume)
        for child in within:
            directory, _, last = child.rpartition(b"/")
            if directory:
                with btrfs_calls.opened(os.fsdecode(directory), subvolume) as opened:
                    _destroy(opened, last)
            else:
                _destroy(subvolume, last)
    btrfs_calls.destroy(parent, name)


def device_problems(file_system: str) -> list[str]:
    """What Btrfs has counted and misses on the devices of a file system, by its UUID; a sentence each."""
    problems = []
    for device in sorted((SYSTEM_FILES / file_system / "devinfo").glob("*")):
        with contextlib.suppress(OSError):  # a kernel that does not tell
            counted = [line.split() for line in (device / "error_stats").read_text().splitlines()]
            wrong = [f"{number} {kind.removesuffix('_errs')}" for kind, number in counted if number != "0"]
            if wrong:
                problems.append(
                    f"Btrfs has counted errors on device {device.name} of the pool ({', '.join(wrong)}): see "
                    "what the kernel says (dmesg), and replace the device."
                )
            if (device / "missing").read_text().strip() == "1":
                problems.append(f"Device {device.name} of the pool is missing.")
    return problems
