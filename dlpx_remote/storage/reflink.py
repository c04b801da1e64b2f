"""Volumes as trees whose files share their data, on XFS or Btrfs: a clone costs microseconds a file."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import tempfile
from pathlib import Path

from dlpx_remote.storage.base import BackendUnavailable, Size
from dlpx_remote.storage.failures import failures
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.sizes import shared_size
from dlpx_remote.storage.trees import TreeBackend

_FICLONE = 1 << 30 | 4 << 16 | 0x94 << 8 | 9
_GET_ATTRIBUTES = 2 << 30 | 28 << 16 | ord("X") << 8 | 31
_SET_ATTRIBUTES = 1 << 30 | 28 << 16 | ord("X") << 8 | 32
_ATTRIBUTES = "=IIIII8x"  # flags, extent size, extents, project, copy-on-write extent size
_COPY_EXTENT_SIZE = 0x10000


class ReflinkBackend(TreeBackend):
    """A back end on a directory where files can share data.

    On XFS the record size becomes the unit in which data is copied when it is written (``cowextsize``), for
    all files of the volume and of its clones, where it is a multiple of the file system's block.

    Args:
        place: the directory of the pool.
    """

    kind = "reflink"
    cheap_clones = True

    def __init__(self, place: Place) -> None:
        super().__init__(place, "always")

    def size(self, name: str) -> Size:
        """Asks for every extent of every file."""
        with failures(f"The size of {name} could not be found", self.place.root):
            return shared_size(self._checked(name))

    def record_size(self, directory: Path) -> int | None:
        """As it was set."""
        return record_size_of(directory)

    def set_record_size(self, directory: Path, record_size: int | None) -> None:
        """What is made below a directory inherits it."""
        block = os.statvfs(directory).f_bsize
        if record_size is None or record_size % block:
            return
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attributes = struct.unpack(_ATTRIBUTES, fcntl.ioctl(descriptor, _GET_ATTRIBUTES, bytes(28)))
            flags, extent, count, project, _ = attributes
            changed = struct.pack(_ATTRIBUTES, flags | _COPY_EXTENT_SIZE, extent, count, project, record_size)
            fcntl.ioctl(descriptor, _SET_ATTRIBUTES, changed)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
                raise  # those are the answers of a file system that has no such thing
        finally:
            os.close(descriptor)


def record_size_of(directory: Path) -> int | None:
    """The unit in which data in ``directory`` is copied when it is written; None where none was set."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(descriptor, _GET_ATTRIBUTES, bytes(28))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    flags, _, _, _, size = struct.unpack(_ATTRIBUTES, answer)
    return size if flags & _COPY_EXTENT_SIZE else None


def can_reflink(directory: Path) -> bool:
    """Whether files in ``directory`` can share data, found out by trying."""
    with (
        failures("The file system could not be looked at", directory),
        tempfile.TemporaryFile(dir=directory) as one,
        tempfile.TemporaryFile(dir=directory) as other,
    ):
        one.write(b"\0" * 4096)
        one.flush()
        try:
            fcntl.ioctl(other.fileno(), _FICLONE, one.fileno())
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV):
                return False
            raise
        return True


def require_reflink(directory: Path) -> None:
    """That files in ``directory`` can share data.

    Raises:
        BackendUnavailable: they cannot.
    """
    if not can_reflink(directory):
        raise BackendUnavailable(
            f"Files in {directory} cannot share data.",
            "Choose a directory on XFS (made with reflink=1, the default) or on Btrfs, or another back end.",
        )
