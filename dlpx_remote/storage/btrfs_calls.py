"""The kernel's calls for Btrfs subvolumes, as ``linux/btrfs.h`` defines them.

The calls are made directly, not through the ``btrfs`` program: they are the kernel's stable interface, answer
with an error number instead of a sentence, and cost no new process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST_INODE = 256
"""What ``stat`` shows as the inode of a subvolume's root."""

SUPER_MAGIC = 0x9123683E

_READ_ONLY = 1 << 1
_WRITE, _READ = 1, 2
_SIZE = 4096  # of every argument here
_NAME = 4040
_OLD_NAME = 4088
_REFERENCES = 255
_LOOKUP_NAME = 256


def _request(direction: int, number: int, size: int = _SIZE) -> int:
    return direction << 30 | size << 16 | 0x94 << 8 | number


_SUBVOL_CREATE = _request(_WRITE, 24)
_SNAPSHOT_CREATE = _request(_WRITE, 23)
_DESTROY = _request(_WRITE, 15)
_SYNC = _request(0, 8, 0)
_SUBVOL_SET_FLAGS = _request(_WRITE, 26, 8)
_FS_INFO = _request(_READ, 31, 1024)
_CHILDREN = _request(_READ | _WRITE, 61)
_LOOKUP = _request(_READ | _WRITE, 62)


@contextmanager
def opened(directory: Path | str, within: int | None = None) -> Iterator[int]:
    """A directory's descriptor."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(directory, flags, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def create(parent: int, name: str) -> None:
    """Make an empty subvolume in the directory ``parent``."""
    fcntl.ioctl(parent, _SUBVOL_CREATE, _named(f"=qQQ32x{_NAME}s", 0, 0, 0, name.encode()))


def snapshot(source: int, parent: int, name: str, *, read_only: bool) -> None:
    """Make a snapshot of the subvolume ``source`` in the directory ``parent``; it is on the disk then."""
    flags = _READ_ONLY if read_only else 0
    fcntl.ioctl(parent, _SNAPSHOT_CREATE, _named(f"=qQQ32x{_NAME}s", source, 0, flags, name.encode()))


def destroy(parent: int, name: bytes) -> None:
    """Delete a subvolume that holds no other one."""
    fcntl.ioctl(parent, _DESTROY, _named(f"=q{_OLD_NAME}s", 0, name))


def make_writable(subvolume: int) -> None:
    """Lift the protection of a snapshot: nothing in it can be deleted before."""
    fcntl.ioctl(subvolume, _SUBVOL_SET_FLAGS, struct.pack("=Q", 0))


def synchronize(descriptor: int) -> None:
    """Wait until everything that was done is on the disk."""
    fcntl.ioctl(descriptor, _SYNC)


def file_system(descriptor: int) -> str:
    """The UUID of the file system, as ``/sys/fs/btrfs`` has it."""
    answer = bytearray(1024)
    fcntl.ioctl(descriptor, _FS_INFO, answer)
    digits = answer[16:32].hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def children(subvolume: int) -> list[bytes]:
    """The subvolumes directly within this one, by path relative to it."""
    found: list[bytes] = []
    least = 0
    while True:
        answer = bytearray(struct.pack(f"=Q{_SIZE - 8}x", least))
        try:
            fcntl.ioctl(subvolume, _CHILDREN, answer)
            more = False
        except OSError as error:
            if error.errno != errno.EOVERFLOW:
                raise
            more = True  # the answer is full, and there is more
        for index in range(answer[8 + _REFERENCES * 16]):
            tree, directory = struct.unpack_from("=QQ", answer, 8 + index * 16)
            found.append(_path(subvolume, tree, directory))
            least = tree + 1
        if not more:
            return found


def _named(layout: str, *values: object) -> bytearray:
    """An argument; one that Python may write to, because it refuses others above a kilobyte."""
    return bytearray(struct.pack(layout, *values))


def _path(subvolume: int, tree: int, directory: int) -> bytes:
    answer = bytearray(struct.pack(f"=QQ{_SIZE - 16}x", directory, tree))
    fcntl.ioctl(subvolume, _LOOKUP, answer)
    name, path = answer[16 : 16 + _LOOKUP_NAME], answer[16 + _LOOKUP_NAME :]
    return bytes(path.split(b"\0", 1)[0] + name.split(b"\0", 1)[0])
