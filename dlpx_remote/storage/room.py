"""How much room a file system has, and when that is too little."""

from __future__ import annotations

import os
from pathlib import Path

_LITTLE = 0.05  # of the whole: copy-on-write file systems become slow, and fail in odd ways, when nearly full


def room(directory: Path) -> tuple[int, int, list[str]]:
    """Bytes in all, bytes that can be written, and what is wrong with that."""
    status = os.statvfs(directory)
    total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    problems = []
    if status.f_flag & os.ST_RDONLY:
        problems.append(
            f"The file system of {directory} is read-only: its device may have failed; see what the kernel "
            "says (dmesg)."
        )
    if free < total * _LITTLE:
        problems.append(
            f"Only {in_words(free)} of {in_words(total)} are free in {directory}: delete what is no longer "
            "needed, or make the pool larger."
        )
    return total, free, problems


def in_words(size: int) -> str:
    """Bytes for people: ``1.5 GiB``."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
