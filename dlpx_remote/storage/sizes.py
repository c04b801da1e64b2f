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
_LAST, _SHARED = 0x1, 0x2000


def logical(tree: Path) -> int:
    """Bytes that the files of a tree hold, each counted once; holes are no bytes."""
    return sum(status.st_blocks * _BLOCK for _, status in _files(tree))


def shared_size(tree: Path) -> Size:
    """The size of a tree on a file system whose files can share data: asks for every extent of every file."""
    total = own = 0
    for path, status in _files(tree):
        held = status.st_blocks * _BLOCK
        total += held
        own += max(held - _shared(path), 0) if held else 0
    return Size(total, own)


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


def _shared(path: str) -> int:
    """Bytes of a file that lie in extents of which others have a part too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC)
    shared = start = 0
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
                shared += length if flags & _SHARED else 0
                start = place + length
                last = last or bool(flags & _LAST)
            if last:
                return shared
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY):
            return 0
        raise
    finally:
        os.close(descriptor)
