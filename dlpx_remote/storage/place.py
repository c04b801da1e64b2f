"""The directory of a pool: where its volumes lie, that it is the right one, and who is at work on what.

Every back end keeps the same order: ``volumes/NAME`` is whole, what lies in ``unfinished/`` is being built or
taken apart. A file with the pool's identifier tells the pool from a directory where nothing is mounted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.storage.base import VOLUME_NAME, BackendUnavailable
from dlpx_remote.storage.failures import failures

MARKER = "dlpx-remote-pool.json"
_LOCK = "lock"
_FLOCK = "hhqqi4x"  # struct flock of Linux: type, whence, start, length, process, and padding


class Place:
    """The directory of a pool.

    Args:
        root: the directory, absolute.
        identifier: of the pool, as its marker says; None takes any.
    """

    def __init__(self, root: Path, identifier: str | None = None) -> None:
        self.root = root
        self.volumes = root / "volumes"
        self.unfinished = root / "unfinished"
        self._identifier = identifier
        self._held = threading.local()

    def prepare(self, identifier: str) -> None:
        """Make the directories and the marker; one that is there already stays."""
        with failures("The pool could not be prepared", self.root):
            for directory in (self.root, self.volumes, self.unfinished):
                directory.mkdir(mode=0o700, exist_ok=True)
                directory.chmod(0o700)  # other accounts of this machine have no business in data sets
            if self.identifier() is None:
                words = json.dumps({"pool": identifier})
                beside = self.root / f"{MARKER}.new"
                beside.write_text(words)
                beside.rename(self.root / MARKER)
            synchronize(self.root)

    def identifier(self) -> str | None:
        """Of the pool that lies here; None where there is none."""
        try:
            found = json.loads((self.root / MARKER).read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return str(found["pool"]) if isinstance(found, dict) and "pool" in found else None

    def check(self) -> None:
        """That the pool is here.

        Raises:
            BackendUnavailable: nothing is mounted here, or something else.
        """
        with failures("The pool could not be looked at", self.root):
            found = self.identifier()
        if found is None:
            raise BackendUnavailable(
                f"The pool {self.root} is not there.",
                "Its file system is not mounted, or its device or file is gone: dlpx-remote storage status "
                "mounts it again, or says what is missing.",
            )
        if self._identifier is not None and found != self._identifier:
            raise BackendUnavailable(
                f"Another pool lies at {self.root}: {found}, not {self._identifier}.",
                "Mount the right one there, or name the state that belongs to this one (--state).",
            )

    def path(self, name: str) -> Path:
        """Where a volume lies.

        Raises:
            InvalidRequest: that is no name for a volume.
        """
        if not VOLUME_NAME.fullmatch(name):
            raise InvalidRequest(
                f"{name!r} cannot be the name of a volume.",
                "It has up to 100 letters, digits, dots, dashes and underscores, first a letter or digit.",
            )
        return self.volumes / name

    def names(self) -> frozenset[str]:
        """Every volume that is there."""
        self.check()
        with failures("The volumes could not be listed", self.root):
            return frozenset(path.name for path in self.volumes.iterdir())

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Keep every other thread and process from working on a volume; gives whether that worked.

        The lock ends with the process, so one that is held is a sign of life.

        Args:
            name: of the volume.
            wait: for whoever has it; otherwise give False at once.
        """
        self.check()
        with failures(f"The volume {name} could not be locked", self.root):
            descriptor = os.open(self.root / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        held = self.held()
        try:
            self._held.descriptors = (*held, descriptor)
            yield _lock_byte(descriptor, name, wait)
        finally:
            self._held.descriptors = held
            os.close(descriptor)

    def held(self) -> tuple[int, ...]:
        """Descriptors of the locks that this thread has. A program that gets them holds the locks too."""
        found: tuple[int, ...] = getattr(self._held, "descriptors", ())
        return found


def _lock_byte(descriptor: int, name: str, wait: bool) -> bool:
    """One byte of the file for each name: no file is left over when a volume is gone."""
    position = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, position, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, request)
    except BlockingIOError:
        return False
    return True


def synchronize(directory: Path) -> None:
    """Wait until a directory's entries are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
