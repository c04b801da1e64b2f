"""Directories within a volume to mount on, where one mount of it lies in another."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from dlpx_remote.mounts.base import MountRefused

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def missing_within(volume: Path, path: str) -> tuple[str, ...]:
    """Which directories of a path are not there, relative to the volume, outermost first.

    Args:
        volume: a directory of this machine.
        path: relative to it.

    Raises:
        MountRefused: something on the way is no directory.
    """
    missing = []
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        inside = "/".join(parts[:depth])
        try:
            if not stat.S_ISDIR((volume / inside).lstat().st_mode):
                raise MountRefused(
                    f"A mount lies in another one at {inside}, which is no directory in the data set.",
                    "Choose other mount paths.",
                )
        except FileNotFoundError:
            missing.append(inside)
    return tuple(missing)


def make_within(volume: Path, missing: Sequence[str]) -> None:
    """Make directories that :func:`missing_within` named, each owned like the one that it lies in."""
    for path in missing:
        *parents, name = path.split("/")
        descriptor = _opened(volume, parents)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=descriptor)
                status = os.fstat(descriptor)
                os.chown(name, status.st_uid, status.st_gid, dir_fd=descriptor, follow_symlinks=False)
        finally:
            os.close(descriptor)


def remove_within(volume: Path, made: Sequence[str]) -> None:
    """Take away what :func:`make_within` made, as far as it is empty."""
    for path in reversed(made):
        *parents, name = path.split("/")
        try:
            descriptor = _opened(volume, parents)
        except FileNotFoundError:
            continue
        try:
            os.rmdir(name, dir_fd=descriptor)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        finally:
            os.close(descriptor)


def _opened(volume: Path, parents: Sequence[str]) -> int:
    """A directory of the volume, reached without following a symbolic link."""
    descriptor = os.open(volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parents:
        try:
            inner = os.open(part, _OPEN, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor
