"""Block devices and files with a file system in them: what is on one, making one, mounting it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

from dlpx_remote.storage.base import BackendUnavailable, StorageError
from dlpx_remote.storage.failures import failure, failures, number_in
from dlpx_remote.storage.mount_table import is_mount_point

PACKAGES = {
    "mkfs.btrfs": "btrfs-progs",
    "btrfs": "btrfs-progs",
    "mount": "mount",
    "umount": "mount",
    "losetup": "mount",
    "blkid": "util-linux",
    "cp": "coreutils",
}
"""Debian package by program that this room runs."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_OPTIONS = "noatime,user_subvol_rm_allowed"
_SMALLEST_NODE = 4096  # bytes; what mkfs.btrfs takes, unless a page of memory is larger
_NOTHING_FOUND = 2  # what blkid ends with where it knows nothing of what is there


def program(name: str) -> str | None:
    """Where a program is, also where the path of an ordinary account does not lead."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")


def run(command: tuple[str, ...], what: str, *, allowed: tuple[int, ...] = ()) -> str:
    """Run a program; its output.

    Args:
        command: its name and arguments.
        what: what could not be done if it fails: ``The file system could not be made``.
        allowed: exit codes beside 0 that are no failure.

    Raises:
        BackendUnavailable: it is missing, or may not.
        StorageError: it failed; with what it said.
    """
    path = program(command[0])
    if path is None:
        raise BackendUnavailable(
            f"{what}: the program {command[0]} is missing.",
            f"Install it on the engine's machine: apt-get install {PACKAGES.get(command[0], command[0])}",
        )
    done = subprocess.run(
        [path, *command[1:]],
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode and done.returncode not in allowed:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        first = words.splitlines()[0] if words else f"{command[0]} ended with {done.returncode}"
        error = failure(number_in(words), what, Path(command[-1]), first)
        error.output = words
        raise error
    return done.stdout.decode(errors="replace")


def file_system_on(device: Path) -> dict[str, str]:
    """What blkid knows of a device or file: ``TYPE``, ``UUID``, ``PTTYPE``…; nothing where it is blank."""
    words = run(
        ("blkid", "--probe", "--output", "export", str(device)),
        f"{device} could not be looked at",
        allowed=(_NOTHING_FOUND,),
    )
    return dict(line.split("=", 1) for line in words.splitlines() if "=" in line)


def require_block_device(device: Path) -> None:
    """That it is one.

    Raises:
        BackendUnavailable: it is missing, or something else.
    """
    with failures(f"The device {device} could not be looked at", device):
        mode = device.stat().st_mode if device.exists() else 0
    if not stat.S_ISBLK(mode):
        raise BackendUnavailable(
            f"{device} is {'no block device' if mode else 'not there'}.",
            "Name a disk or partition that may be overwritten (lsblk lists them).",
        )


def make_image(image: Path, size: int) -> None:
    """A file for a file system, that takes space only as that fills; one that is there stays."""
    with failures(f"The file {image} could not be made", image.parent):
        image.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(image, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size == 0:
                os.ftruncate(descriptor, size)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_btrfs(where: Path, uuid: str) -> None:
    """A Btrfs file system on a device or file. What was there is lost.

    Its nodes are as small as they can be: a snapshot copies the root of a tree and counts a reference to each
    node below it, so that the size of a node is what bounds the time and the space of a clone.
    """
    node = str(max(_SMALLEST_NODE, os.sysconf("SC_PAGE_SIZE")))
    label = ("--uuid", uuid, "--label", "dlpx-remote")
    run(
        ("mkfs.btrfs", "--quiet", "--force", "--nodesize", node, *label, str(where)),
        f"No Btrfs file system could be made on {where}",
    )


def mount(source: Path, point: Path, uuid: str, *, is_file: bool) -> None:
    """Mount the Btrfs file system on a device or file; one that is mounted already stays.

    Args:
        source: the device or file.
        point: where to; made if it is missing.
        uuid: of the file system. A device that goes by another name now is found by it.
        is_file: see :func:`find`.

    Raises:
        BackendUnavailable: the device or file is gone, or something else is on it.
        StorageError: mount failed; with what it said.
    """
    if is_mount_point(point):
        return
    with failures(f"The directory {point} could not be made", point):
        point.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(point.iterdir()):
            raise StorageError(
                f"Nothing can be mounted at {point}: there are files in it, which would be hidden.",
                "Move them away, or name another directory.",
            )
    found = find(source, uuid, is_file=is_file)
    if found is None:
        there = source.exists()
        raise BackendUnavailable(
            f"The pool {point} is not there: "
            + (f"{source} does not hold its file system, {uuid}." if there else f"{source} is missing."),
            "Find the disk or file that belongs to this state and put it back, or restore it from a backup.",
        )
    options = _OPTIONS if stat.S_ISBLK(found.stat().st_mode) else f"loop,{_OPTIONS}"
    what = f"The pool on {found} could not be mounted at {point}"
    run(("mount", "-t", "btrfs", "-o", options, str(found), str(point)), what)


def find(source: Path, uuid: str, *, is_file: bool) -> Path | None:
    """Where the file system is: in its usual place, or on a device that goes by another name now.

    Args:
        source: the usual place, a device or file.
        uuid: of the file system.
        is_file: the place is, or was, a file, which is looked for nowhere else.
    """
    if source.exists() and file_system_on(source).get("UUID") == uuid:
        return source
    if is_file:
        return None  # what blkid would find is a loop device that has not let go of what the file was
    words = run(("blkid", "--uuid", uuid), "The devices could not be looked at", allowed=(_NOTHING_FOUND,))
    return Path(words.strip()) if words.strip() else None


def unmount(point: Path) -> None:
    """Unmount it, if it is mounted.

    Raises:
        StorageError: it is busy; with what umount said.
    """
    if is_mount_point(point):
        run(("umount", str(point)), f"{point} could not be unmounted")
