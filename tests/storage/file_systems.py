"""Real file systems for the tests, each in a file that is mounted through a loop device and then removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAKE = {
    "btrfs": ("mkfs.btrfs", "--quiet"),
    "btrfs, small": ("mkfs.btrfs", "--quiet", "--mixed"),
    "xfs": ("mkfs.xfs", "-q"),
    "ext4": ("mkfs.ext4", "-q", "-O", "^has_journal"),
}
MIB = 1024 * 1024
SIZES = {"btrfs": 256 * MIB, "btrfs, small": 48 * MIB, "xfs": 300 * MIB, "ext4": 64 * MIB}
"""Bytes: about the smallest that each can be made with."""


def run(*command: str) -> str:
    """What a command says that must succeed."""
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
    return done.stdout


@contextmanager
def in_memory() -> Iterator[Path]:
    """A directory for files that need not outlive the machine: waiting for a disk proves nothing here."""
    memory = Path("/dev/shm")
    large = memory.is_dir() and shutil.disk_usage(memory).free > 2048 * MIB
    with tempfile.TemporaryDirectory(dir=memory if large else None, prefix="dlpx-") as directory:
        yield Path(directory)


@contextmanager
def mounted(kind: str, directory: Path, size: int | None = None) -> Iterator[Path]:
    """A fresh file system, mounted.

    Args:
        kind: see :data:`MAKE`.
        directory: where its file and its mount point are made.
        size: bytes; None takes the usual ones.
    """
    assert os.geteuid() == 0, "These tests mount file systems: run them as root, on Linux with loop devices."
    image, point = directory / "image", directory / "mounted"
    point.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(size or SIZES[kind])
    run(*MAKE[kind], str(image))
    run("mount", "-o", "loop", str(image), str(point))
    try:
        yield point
    finally:
        run("umount", str(point))
        image.unlink()
