"""What is to be mounted, and how the mount table of a host shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlpx_remote.mounts import mountinfo
from dlpx_remote.mounts.mountinfo import MountEntry

NFS_OPTIONS = ("rw", "hard", "proto=tcp", "rsize=1048576", "wsize=1048576", "timeo=600")
"""What a host mounts with unless its environment says otherwise; the version comes from the server."""
_VISIBLE = ("ro", "rw", "hard", "soft", "proto", "nosuid", "noexec", "nodev", "sec", "lookupcache", "nolock")


@dataclass(frozen=True)
class Source:
    """What is to be mounted.

    Attributes:
        file_system: ``nfs`` or ``bind``.
        name: ``SERVER:/path``, or a directory of the host itself.
        options: for ``mount -o``, in order; of contradicting ones the last wins.
        port: of the NFS server, None for the standard one.
        version: the NFS version to begin with, ``4.1`` or ``3``.
    """

    file_system: str
    name: str
    options: tuple[str, ...] = ()
    port: int | None = None
    version: str = "4.1"

    @property
    def server(self) -> str:
        """Of an NFS source, its address as the host has it."""
        return self.name.partition(":/")[0].strip("[]")


def matches(entries: Sequence[MountEntry], entry: MountEntry, source: Source) -> bool:
    """Whether an entry of a mount table is a mount of the source.

    Args:
        entries: the table.
        entry: one of them.
        source: what is looked for.
    """
    if source.file_system == "nfs":
        return entry.file_system in ("nfs", "nfs4") and _plain(entry.source) == _plain(source.name)
    # The table shows a bind mount as its file system's device, and the directory within that.
    others = [other for other in entries if other.number != entry.number]
    beneath = mountinfo.holding(others, source.name)
    if beneath is None:
        return False
    root = mountinfo.within(beneath, source.name)
    return entry.device == beneath.device and entry.root in (root, f"{root}//deleted")


def _plain(source: str) -> str:
    """An NFS source in one form: the kernel drops a closing slash, and brackets are the host's choice."""
    server, _, path = source.partition(":/")
    return f"{server.strip('[]')}:/{path.strip('/')}"


def options_of(entry: MountEntry) -> str:
    """Of the mount and its file system, each once."""
    words = [
        *entry.options.split(","),
        *(entry.super_options.split(",") if "nfs" in entry.file_system else ()),
    ]
    return ",".join(dict.fromkeys(words))


def version_of(entry: MountEntry) -> str:
    """Of NFS, in use; empty for other mounts."""
    return (entry.value("vers") or "") if "nfs" in entry.file_system else ""


def not_in_force(entry: MountEntry, source: Source) -> list[str]:
    """Which of the asked options are not in force, as far as the table shows them."""
    # Of contradicting ones the last wins, as in mount(8).
    asked = {
        {"ro": "rw", "soft": "hard"}.get(option, option.partition("=")[0]): option
        for option in source.options
        if option.partition("=")[0] in _VISIBLE
    }
    wrong = []
    for option in asked.values():
        if option == "rw":
            missing = "ro" in entry.options.split(",")
        elif source.file_system == "bind":
            missing = option not in entry.options.split(",")
        else:
            missing = not entry.has(option)
        if missing:
            wrong.append(option)
    return wrong
