"""What the operating system says when storage fails, as errors of this room that tell what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlpx_remote.storage.base import BackendUnavailable, PoolFull, StorageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BROKEN = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EUCLEAN, errno.ESHUTDOWN})
_FORBIDDEN = frozenset({errno.EPERM, errno.EACCES})
_TOLD_APART = (*_FULL, *_BROKEN, *_FORBIDDEN, errno.EROFS)


def failure(number: int | None, what: str, root: Path, words: str = "") -> StorageError:
    """The error for an ``errno``.

    Args:
        number: the ``errno``; None where there was none.
        what: what could not be done: ``The clone VDB-3 could not be made``.
        root: of the pool.
        words: what a program said besides.
    """
    reason = words or (os.strerror(number) if number else "unknown reason")
    if number in _FULL:
        return PoolFull(
            f"{what}: the pool {root} is full.",
            "Delete what is no longer needed (dlpx-remote storage list), or make the pool larger; "
            "what had been begun was taken away again.",
        )
    if number == errno.EROFS:
        return BackendUnavailable(
            f"{what}: the file system of the pool {root} is read-only.",
            "If nobody made it so on purpose, its device has failed: see what the kernel says (dmesg), "
            "repair or replace it, then mount it again.",
        )
    if number in _BROKEN:
        return BackendUnavailable(
            f"{what}: the pool {root} cannot be used: {reason}.",
            "Its device or file system is damaged or gone: see what the kernel says (dmesg).",
        )
    if number in _FORBIDDEN:
        return BackendUnavailable(
            f"{what}: {reason}.",
            "Storage needs root's rights on the engine's machine: run dlpx-remote as root there.",
        )
    return StorageError(f"{what}: {reason}.")


def number_in(words: str) -> int | None:
    """The ``errno`` that a program has put into words, in English."""
    return next((number for number in _TOLD_APART if os.strerror(number) in words), None)


@contextmanager
def failures(what: str, root: Path) -> Iterator[None]:
    """An ``OSError`` within becomes an error of this room; see :func:`failure`."""
    try:
        yield
    except OSError as error:
        raise failure(error.errno, what, root, "" if error.errno else str(error)) from error
