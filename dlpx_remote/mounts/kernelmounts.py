"""Mounts of this machine's kernel that mount(8) of today's distributions cannot make: with owners mapped.

A mount with mapped owners (``mount_setattr(2)``, Linux 5.12; Btrfs from 5.15) shows files of one user as
another's, and stores what that other one makes as the first one's. It costs the same for any number of files.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import subprocess
from pathlib import Path

_HIGHEST = 2**32 - 2  # the last number that a user or group may have
_PATIENCE = 10.0

# The numbers are the same on every architecture that Python runs engines on.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_EMPTY_PATH = 4
_ATTRIBUTE_IDMAP = 0x00100000
_PRIVATE = 1 << 18
_DETACH = 2

_UNSUPPORTED = (
    errno.EINVAL,
    errno.EPERM,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOSPC,
    errno.EUSERS,
)


class _Attributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),
    )


def exchanged(stored: int, shown: int) -> str:
    """The map (user_namespaces(7)) in which two numbers change places and all others stay.

    Every number is in it, so every file can be used, whoever owns it.
    """
    low, high = sorted((stored, shown))
    ranges = [(0, 0, low), (low, high, 1), (low + 1, low + 1, high - low - 1), (high, low, 1)]
    ranges.append((high + 1, high + 1, _HIGHEST - high))
    if low == high:
        ranges = [(0, 0, _HIGHEST + 1)]
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges if count > 0)


def bind(source: Path, target: Path, users: tuple[int, int], groups: tuple[int, int]) -> None:
    """Mount a directory at another one, owners mapped; it appears there whole or not at all.

    Args:
        source: the directory.
        target: an existing directory.
        users: a stored number, and the one that it is shown as.
        groups: likewise.

    Raises:
        OSError: the kernel, the file system or this process may not.
    """
    tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        attributes = _Attributes(propagation=_PRIVATE)
        with contextlib.ExitStack() as stack:
            if users[0] != users[1] or groups[0] != groups[1]:
                namespace = _user_namespace(exchanged(*users), exchanged(*groups))
                stack.callback(os.close, namespace)
                attributes.set, attributes.namespace = _ATTRIBUTE_IDMAP, namespace
            size = ctypes.sizeof(attributes)
            _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_FROM_EMPTY_PATH)
    finally:
        os.close(tree)


def unmount(target: Path, *, lazy: bool = False) -> None:
    """Take the topmost mount at ``target`` away.

    Raises:
        OSError: it is busy (not when ``lazy``), or nothing is mounted there (``EINVAL``).
    """
    if _libc().umount2(os.fsencode(target), _DETACH if lazy else 0) != 0:
        _raise()


def unsupported(error: OSError) -> bool:
    """Whether owners cannot be mapped here at all, as opposed to another trouble."""
    return error.errno in (
        errno.EINVAL,
        errno.EPERM,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.ENOSPC,
        errno.EUSERS,
    )


def _user_namespace(user_map: str, group_map: str) -> int:
    """A descriptor of a user namespace with these maps; nothing runs in it."""
    # A process of its own makes it: one with threads may not change its own user namespace.
    command = ["unshare", "--user", "sh", "-c", "echo; read -r _"]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise OSError(errno.ENOSYS, "unshare (util-linux) is not installed") from error
    try:
        if process.stdout is None or process.stdout.readline() != b"\n":
            raise OSError(errno.EPERM, "user namespaces are not allowed")
        Path(f"/proc/{process.pid}/uid_map").write_text(user_map, encoding="ascii")
        Path(f"/proc/{process.pid}/gid_map").write_text(group_map, encoding="ascii")
        return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            process.communicate(timeout=_PATIENCE)
        if process.poll() is None:
            process.kill()
            process.wait()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        _raise()
    return result


def _raise() -> None:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))
