"""Reading the kernel's mount table (proc(5), ``/proc/PID/mountinfo``), of this machine or of a host.

The table is the only thing that is ever asked about a mount: looking at the mounted directory itself may
hang for as long as a server is away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TABLE = "/proc/self/mountinfo"

_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True)
class MountEntry:
    """One line of the table.

    Attributes:
        number: the mount's own id; later mounts do not always have higher ones.
        parent: id of the mount that it lies on.
        device: ``major:minor`` of the file system.
        root: the directory within that file system that is mounted.
        point: where it is mounted.
        options: of this mount (``rw,nosuid,idmapped``).
        file_system: its type, ``nfs4`` for example.
        source: what was mounted, as the file system shows it.
        super_options: of the file system (``vers=4.1,hard,…`` for NFS).
    """

    number: int
    parent: int
    device: str
    root: str
    point: str
    options: str
    file_system: str
    source: str
    super_options: str

    def has(self, option: str) -> bool:
        """Whether the option is in force for the mount or its file system."""
        return option in self.options.split(",") or option in self.super_options.split(",")

    def value(self, name: str) -> str | None:
        """Of an option of the form ``name=value``; None where there is none."""
        for option in (self.super_options + "," + self.options).split(","):
            key, equals, value = option.partition("=")
            if key == name and equals:
                return value
        return None


def parse(table: bytes) -> list[MountEntry]:
    """The table's entries in their order: of several at one point the last lies on top."""
    entries = []
    for line in table.split(b"\n"):
        fields = line.split(b" ")
        if len(fields) < 10 or b"-" not in fields[6:]:
            continue
        dash = fields.index(b"-", 6)
        if len(fields) < dash + 3:
            continue
        words = [_plain(field) for field in fields]
        entries.append(
            MountEntry(
                number=int(fields[0]),
                parent=int(fields[1]),
                device=words[2],
                root=words[3],
                point=words[4],
                options=words[5],
                file_system=words[dash + 1],
                source=words[dash + 2],
                super_options=words[dash + 3] if len(words) > dash + 3 else "",
            )
        )
    return entries


def here() -> list[MountEntry]:
    """The table of this machine, as this process sees it."""
    return parse(Path(TABLE).read_bytes())


def at(entries: Sequence[MountEntry], path: str) -> list[MountEntry]:
    """What is mounted at exactly this path, the topmost last."""
    return [entry for entry in entries if entry.point == path]


def beneath(entries: Sequence[MountEntry], path: str) -> list[MountEntry]:
    """What is mounted below this path."""
    return [entry for entry in entries if entry.point.startswith(path.rstrip("/") + "/")]


def holding(entries: Sequence[MountEntry], path: str) -> MountEntry | None:
    """The mount in which a path lies."""
    found: MountEntry | None = None
    for entry in entries:
        above = entry.point in ("/", path) or path.startswith(entry.point.rstrip("/") + "/")
        if above and (found is None or len(entry.point) >= len(found.point)):
            found = entry
    return found


def within(entry: MountEntry, path: str) -> str:
    """The path of something in a mount, from the root of its file system."""
    inside = path[len(entry.point.rstrip("/")) :].strip("/")
    root = entry.root.rstrip("/")
    return (f"{root}/{inside}" if inside else root) or "/"


def _plain(field: bytes) -> str:
    def character(match: re.Match[bytes]) -> bytes:
        return bytes([int(match[1], 8) & 0xFF])

    return _ESCAPE.sub(character, field).decode("utf-8", "surrogateescape")
