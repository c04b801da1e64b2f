"""What else is mounted on, or from, a directory of this machine, as the kernel's mount table says."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class _Mount:
    device: str
    root: str
    point: str


def mounts_within(directory: Path) -> list[str]:
    """Mount points that lie in ``directory``, or that show it or a part of it elsewhere.

    Args:
        directory: absolute, without symbolic links.
    """
    mounts = _read()
    place = os.fspath(directory)
    inside = [mount.point for mount in mounts if _is_within(mount.point, place)]
    beneath = [mount for mount in mounts if _is_within(place, mount.point)]
    if not beneath:
        return inside
    # the mount that the directory itself is seen through: the innermost, and of those the one mounted last
    lying_on = max(reversed(beneath), key=lambda mount: len(mount.point))
    within = os.path.normpath(os.path.join(lying_on.root, os.path.relpath(place, lying_on.point)))  # noqa: PTH118
    elsewhere = [
        mount.point for mount in mounts if mount.device == lying_on.device and _is_within(mount.root, within)
    ]
    return sorted({*inside, *elsewhere})


def is_mount_point(directory: Path) -> bool:
    """Whether something is mounted there, without touching it: what is mounted may be dead."""
    return any(mount.point == os.fspath(directory) for mount in _read())


def _read() -> list[_Mount]:
    mounts = []
    for line in _TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        mounts.append(_Mount(fields[2], _plain(fields[3]), _plain(fields[4])))
    return mounts


def _plain(field: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found.group(1), 8)), field)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
