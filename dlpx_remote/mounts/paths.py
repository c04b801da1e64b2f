"""What paths of mounts may be: on a host, and within a volume."""

from __future__ import annotations

import os
from pathlib import Path

from dlpx_remote.mounts.base import MountRefused

_LONGEST = 4095  # bytes, PATH_MAX of Linux with its closing NUL


def checked_mount_path(path: str) -> str:
    """A mount path in its plainest form: no doubled or closing slash, no ``.``.

    Raises:
        MountRefused: it is relative, has ``..``, is ``/``, or can be no path at all.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/"):
        raise MountRefused(
            f"The mount path {path!r} is relative.", "Give an absolute path in the mount specification."
        )
    if ".." in parts:
        raise MountRefused(f"The mount path {path!r} has '..' in it.", "Give the path without.")
    if not parts:
        raise MountRefused("Nothing can be mounted at /.", "Give a directory of the data set's own.")
    plain = "/" + "/".join(parts)
    if "\x00" in plain or not _encodable(plain) or len(plain.encode()) > _LONGEST:
        raise MountRefused(
            f"The mount path {path[:200]!r} can be no path on a host.",
            "A path has no NUL, is UTF-8 and has at most 4095 bytes.",
        )
    return plain


def checked_shared_path(path: str | None) -> str:
    """A path within a volume, without slashes around it; empty for the whole volume.

    Raises:
        MountRefused: it would lead out of the volume, or can be no path.
    """
    parts = [part for part in (path or "").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise MountRefused(
            f"The shared path {path!r} has '..' in it.", "Give a path below the data set's own directory."
        )
    plain = "/".join(parts)
    if "\x00" in plain or not _encodable(plain) or len(plain.encode()) > _LONGEST:
        raise MountRefused(f"The shared path {path!r} can be no path.", "Give a directory of the data set.")
    return plain


def directory_within(volume: Path, shared_path: str) -> Path:
    """The directory of a volume that a shared path means, each step of it seen to be a directory.

    Symbolic links are refused, wherever they lead: the data set's owner could change them at any time.

    Raises:
        MountRefused: it is not there, is no directory, or there is a symbolic link on the way.
    """
    directory = volume
    for part in shared_path.split("/") if shared_path else ():
        directory = directory / part
        try:
            is_link, is_directory = directory.is_symlink(), directory.is_dir()
        except OSError:
            is_link, is_directory = False, False
        if is_link:
            raise MountRefused(
                f"The shared path {shared_path!r} leads through a symbolic link in the data set.",
                "Give the path of the directory itself.",
            )
        if not is_directory:
            raise MountRefused(
                f"There is no directory {shared_path!r} in the data set.",
                "Correct the shared path of the mount specification.",
            )
    return directory


def _encodable(path: str) -> bool:
    try:
        return os.fsdecode(path.encode("utf-8")) is not None
    except UnicodeEncodeError:
        return False
