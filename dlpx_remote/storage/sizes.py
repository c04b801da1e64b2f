"""What a tree of files takes: bytes that its files hold, and bytes that no other tree shares with it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from dlpx_remote.storage.base import Size

_BLOCK = 512  # bytes; the unit of ``st_blocks`` everywhere

_FIEMAP = 3 << 30 | 32 << 16 | ord("f") << 8 | 11
_HEADER = "=QQIIII"
_EXTENT = "=QQQQQIIII"
_EXTENTS = 256  # in one answer
_SYNCHRONIZE = 0x1
_LAST, _INLINE, _SHARED = 0x1, 0x200, 0x2000


def logical(tree: Path) -> int:
    """Bytes that the files of a tree hold, each counted once; holes are no bytes."""
    return sum(_held(status) for _, status in _files(tree))


def shared_size(tree: Path) -> Size:
    """The size of a tree on a file system whose files can share data: asks for every extent of every file.

    What Btrfs keeps of small files in its metadata is nobody's own: who shares that cannot be asked.
    """
    total = own = 0
    for path, status in _files(tree):
        total += _held(status)
        own += _own(path, status.st_blocks * _BLOCK) if status.st_blocks else 0
    return Size(total, own)


def _held(status: os.stat_result) -> int:
    """Without holes, and without the rest of the last block."""
    return min(status.st_size, status.st_blocks * _BLOCK)


def _files(tree: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file of a tree, each once however many names it has; other file systems are left out."""
    seen: set[tuple[int, int]] = set()
    device = tree.stat().st_dev
    waiting = [os.fspath(tree)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if status.st_dev != device:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)
                elif stat.S_ISREG(status.st_mode):
                    if status.st_nlink > 1:
                        identity = (status.st_dev, status.st_ino)
                        if identity in seen:
                            continue
                        seen.add(identity)
                    yield entry.path, status


def _own(path: str, allocated: int) -> int:
    """Bytes of a file that lie in extents of which nobody else has a part."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC)
    own = start = 0
    try:
        while True:
            answer = bytearray(struct.calcsize(_HEADER) + _EXTENTS * struct.calcsize(_EXTENT))
            struct.pack_into(_HEADER, answer, 0, start, 2**64 - 1 - start, _SYNCHRONIZE, 0, _EXTENTS, 0)
            fcntl.ioctl(descriptor, _FIEMAP, answer)
            mapped = struct.unpack_from(_HEADER, answer)[3]
            last = mapped == 0
            for index in range(mapped):
                place, _, length, _, _, flags, *_ = struct.unpack_from(
                    _EXTENT, answer, struct.calcsize(_HEADER) + index * struct.calcsize(_EXTENT)
                )
                own += 0 if flags & (_SHARED | _INLINE) else length
                start = place + length
                last = last or bool(flags & _LAST)
            if last:
                return min(own, allocated)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY):
            return allocated
        raise
    finally:
        os.close(descriptor)
