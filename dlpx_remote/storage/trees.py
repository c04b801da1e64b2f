"""Volumes as plain directory trees, copied file by file; what the reflink and copy back ends have in common.

A copy is built under ``unfinished/`` and renamed when it is whole and on the disk; a volume that is deleted
is renamed there first. Whatever lies there after a crash is nobody's.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Literal

from dlpx_remote.storage.base import BackendUnavailable, Health, StorageError
from dlpx_remote.storage.failures import failure, failures, number_in
from dlpx_remote.storage.place import Place, synchronize
from dlpx_remote.storage.room import room

_PERMISSIONS = 0o755
_NEW, _OLD = "new-", "old-"  # before the name of what is being built, or taken apart


class TreeBackend:
    """A back end that copies trees with ``cp``, which knows how to keep all that a file has.

    Args:
        place: the directory of the pool.
        reflink: whether the copy must share its data with the original.
    """

    def __init__(self, place: Place, reflink: Literal["always", "auto"]) -> None:
        self.place = place
        self._reflink = reflink

    def path(self, name: str) -> Path:
        """See :class:`~dlpx_remote.storage.base.Backend`, here and below."""
        return self.place.path(name)

    def names(self) -> frozenset[str]:
        """What lies in the pool's directory."""
        return self.place.names()

    def create(self, name: str, record_size: int | None = None) -> None:
        """An empty directory."""
        path = self._checked(name)
        with failures(f"The volume {name} could not be made", self.place.root):
            if not path.is_dir():
                beside = self._beside(name)
                beside.mkdir()
                beside.chmod(_PERMISSIONS)
                self.set_record_size(beside, record_size)
                beside.rename(path)
            synchronize(self.place.volumes)

    def snapshot(self, source: str, name: str) -> None:
        """A copy that nobody writes to; the file system does not hinder root, though."""
        self._copy(source, name, f"The snapshot {name} of {source} could not be made")

    def clone(self, snapshot: str, name: str) -> None:
        """A copy."""
        self._copy(snapshot, name, f"The clone {name} of {snapshot} could not be made")

    def delete(self, name: str) -> None:
        """Out of sight at once, then file by file."""
        path = self._checked(name)
        going = self.place.unfinished / f"{_OLD}{name}"
        what = f"The volume {name} could not be deleted"
        with failures(what, self.place.root):
            self._beside(name)  # of a copy that was cut off
            if path.exists():
                self._remove(going, what)
                path.rename(going)
                synchronize(self.place.volumes)
            self._remove(going, what)

    def health(self) -> Health:
        """Room."""
        self.place.check()
        with failures("The state of the pool could not be found", self.place.root):
            total, free, problems = room(self.place.root)
        return Health(total, free, tuple(problems))

    def record_size(self, directory: Path) -> int | None:  # noqa: ARG002
        """What the file system was told of ``directory``; None for nothing."""
        return None

    def set_record_size(self, directory: Path, record_size: int | None) -> None:
        """Tell the file system what is going to be written below ``directory``, where it can be told."""

    def _copy(self, source: str, name: str, what: str) -> None:
        origin, path = self._checked(source), self.path(name)
        with failures(what, self.place.root):
            if not path.is_dir():
                beside = self._beside(name)
                try:
                    self._fill(origin, beside, what)
                except BaseException:
                    self._remove(beside, what)
                    raise
                beside.rename(path)
            synchronize(self.place.volumes)

    def _fill(self, origin: Path, beside: Path, what: str) -> None:
        record_size = self.record_size(origin)
        if record_size is not None:
            beside.mkdir()
            self.set_record_size(beside, record_size)  # before there is anything that could inherit it
        # -T: the copy of the directory itself, with all that it has, not a directory within
        self._run(
            ("cp", "--archive", "--one-file-system", f"--reflink={self._reflink}", "-T", "--"),
            (origin, beside),
            what,
        )
        _synchronize_all(beside)

    def _beside(self, name: str) -> Path:
        """Where the volume is built, with nothing there."""
        beside = self.place.unfinished / f"{_NEW}{name}"
        self._remove(beside, f"What was left of {name} could not be removed")
        return beside

    def _remove(self, path: Path, what: str) -> None:
        if os.path.lexists(path):
            self._run(("rm", "--recursive", "--force", "--one-file-system", "--"), (path,), what)

    def _run(self, command: tuple[str, ...], paths: tuple[Path, ...], what: str) -> None:
        """Run a program that ends when we do; until it has, it keeps the locks that we have."""
        environment = {**os.environ, "LC_ALL": "C"}  # its words are read below
        try:
            done = subprocess.run(
                ["setpriv", "--pdeathsig", "KILL", *command, *map(str, paths)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=False,
                pass_fds=self.place.held(),
            )
        except FileNotFoundError:
            raise BackendUnavailable(
                f"{what}: the program setpriv is missing.", "Install util-linux on the engine's machine."
            ) from None
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip()
            first = words.splitlines()[0] if words else f"{command[0]} ended with {done.returncode}"
            error = failure(number_in(words), what, self.place.root, first)
            if type(error) is StorageError:
                error.output = words
            raise error

    def _checked(self, name: str) -> Path:
        self.place.check()
        return self.path(name)


def _synchronize_all(tree: Path) -> None:
    """Wait until the whole file system is on the disk; renamed before, files might be empty after a crash."""
    descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
