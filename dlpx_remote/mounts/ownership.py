"""Changing who owns the files of a data set, where a mount cannot show them as another's.

The files of one owner become another's; those of anybody else stay. Setuid bits, file capabilities and access
control lists, which a change of owner would take away or leave behind, are carried over. What was cut off is
gone on with: a file that is done is not touched again, and what must be put back is in a journal first.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from dlpx_remote.mounts.base import Owner, OwnershipFailed

_CAPABILITIES = "security.capability"
_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
_LIST_HEAD, _LIST_ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_NAMED_USER, _NAMED_GROUP = 0x02, 0x08
_NONE = (errno.ENODATA, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Change:
    """Whose files become whose."""

    stored: Owner
    wanted: Owner

    def user(self, uid: int) -> int:
        """Whose a file of ``uid`` is afterwards."""
        return self.wanted.uid if uid == self.stored.uid else uid

    def group(self, gid: int) -> int:
        """The same for a group."""
        return self.wanted.gid if gid == self.stored.gid else gid


def owner_of(directory: Path) -> Owner:
    """The owner of a data set: of its own directory."""
    status = directory.stat()
    return Owner(status.st_uid, status.st_gid)


def change_owner(directory: Path, wanted: Owner, journal: Path) -> int:
    """Give the files of the data set's owner to another. The directory itself comes last.

    Args:
        directory: the data set; nobody may write in it meanwhile.
        wanted: who is to own them.
        journal: a file outside the data set; it is there as long as the change is not whole.

    Returns:
        How many files and directories were changed by this call.

    Raises:
        OwnershipFailed: says which file and why; call again to go on.
    """
    try:
        changed = 0
        unfinished = _unfinished(journal)
        if unfinished is not None:
            changed += _change(directory, unfinished, journal)
        stored = owner_of(directory)
        if stored != wanted:
            changed += _change(directory, Change(stored, wanted), journal)
        return changed
    except OSError as error:
        raise OwnershipFailed(
            f"The files of {directory} could not all be given to {wanted.uid}:{wanted.gid}: {error}.",
            "The engine has to run as root, on a file system that can be written. What is done stays done; "
            "trying again goes on from there.",
        ) from error


def _change(directory: Path, change: Change, journal: Path) -> int:
    with _Journal(journal, change, directory) as written:
        changed = 0
        for place, directories, files, descriptor in os.fwalk(directory, topdown=False):
            inside = os.path.relpath(place, directory)
            for name in (*files, *directories):
                changed += _change_one(name, descriptor, os.path.join(inside, name), change, written)  # noqa: PTH118
        whole = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            changed += _change_one(".", whole, ".", change, written)
        finally:
            os.close(whole)
        return changed


def _change_one(name: str, descriptor: int, inside: str, change: Change, journal: _Journal) -> bool:
    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    uid, gid = change.user(status.st_uid), change.group(status.st_gid)
    link = stat.S_ISLNK(status.st_mode)
    path = f"/proc/self/fd/{descriptor}/{name}"
    if not link:
        for kind in _LISTS:
            _change_list(path, kind, change)
    if (uid, gid) == (status.st_uid, status.st_gid):
        return False
    special = status.st_mode & 0o7000
    capabilities = None
    if stat.S_ISREG(status.st_mode):
        capabilities = _attribute(path, _CAPABILITIES)
        if special & 0o6000 or capabilities is not None:
            journal.note(inside, stat.S_IMODE(status.st_mode), capabilities)
    os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
    if not link and special & 0o6000:
        os.chmod(path, stat.S_IMODE(status.st_mode))  # noqa: PTH101
    if capabilities is not None:
        os.setxattr(path, _CAPABILITIES, capabilities)
    return True


def _change_list(path: str, kind: str, change: Change) -> None:
    """An access control list that names the owner names the new one."""
    packed = _attribute(path, kind)
    if packed is None:
        return
    head, entries = packed[: _LIST_HEAD.size], packed[_LIST_HEAD.size :]
    changed = b"".join(
        _LIST_ENTRY.pack(tag, permissions, _named(tag, number, change))
        for tag, permissions, number in _LIST_ENTRY.iter_unpack(entries)
    )
    if changed != entries:
        os.setxattr(path, kind, head + changed)


def _named(tag: int, number: int, change: Change) -> int:
    if tag == _NAMED_USER:
        return change.user(number)
    return change.group(number) if tag == _NAMED_GROUP else number


def _attribute(path: str, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise


class _Journal:
    """What a change would lose if it were cut off between two calls: written before, put back by the next.

    The first line says whose files become whose; each further one has a path, a mode and capabilities.
    """

    def __init__(self, path: Path, change: Change, directory: Path) -> None:
        self._path = path
        self._change = change
        self._directory = directory
        self._file: TextIO | None = None

    def __enter__(self) -> _Journal:
        for line in _lines(self._path)[1:]:
            self._restore(line)
        # What was noted is in place again: a new journal begins, or it would grow with every cut.
        fresh = self._path.with_name(self._path.name + ".new")
        self._file = fresh.open("w", encoding="utf-8")
        stored, wanted = self._change.stored, self._change.wanted
        self._write([stored.uid, stored.gid, wanted.uid, wanted.gid])
        fresh.replace(self._path)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if kind is None:
            self._path.unlink(missing_ok=True)

    def note(self, inside: str, mode: int, capabilities: bytes | None) -> None:
        """A file is about to be changed."""
        self._write([os.fsencode(inside).hex(), mode, capabilities.hex() if capabilities else None])

    def _write(self, line: list[Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def _restore(self, line: list[Any]) -> None:
        inside, mode, capabilities = os.fsdecode(bytes.fromhex(line[0])), line[1], line[2]
        with contextlib.suppress(FileNotFoundError):
            path = self._directory / inside
            if stat.S_ISREG(path.lstat().st_mode):
                path.chmod(mode)
                if capabilities:
                    os.setxattr(path, _CAPABILITIES, bytes.fromhex(capabilities))


def _unfinished(journal: Path) -> Change | None:
    lines = _lines(journal)
    if not lines:
        return None
    first = lines[0]
    return Change(Owner(first[0], first[1]), Owner(first[2], first[3]))


def _lines(journal: Path) -> list[list[Any]]:
    """The whole lines of a journal; one that was being written when the engine died says nothing yet."""
    try:
        text = journal.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1]]
