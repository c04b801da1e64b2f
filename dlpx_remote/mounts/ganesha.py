"""Exports of NFS-Ganesha: a file for each, then the running server is told over its message bus.

The file comes first, and the server reads all of them when it starts: what was exported is exported again,
under the same numbers, so that hosts go on with the file handles that they have.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlpx_remote.mounts.base import Export, ExportFailed, Served
from dlpx_remote.mounts.ganesha_bus import ExportManager, ServerAway
from dlpx_remote.mounts.ganesha_server import GaneshaServer
from dlpx_remote.mounts.ganesha_system import SystemGanesha
from dlpx_remote.mounts.locks import exclusive

_ROOT = "/dlpx"
_HIGHEST = 65000  # of the server's numbers of exports
_NOBODY = 65534  # as on every Linux host; the server's own idea of nobody is a number that no host knows
_BTRFS = 0x9123683E
_SUBVOLUME = 256
_NUMBER = re.compile(r"Export_Id = (\d+);")
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f]')

_EXPORT = """EXPORT {{
    Export_Id = {number}; Filesystem_Id = {number}.{checksum}; Path = "{directory}"; Pseudo = "{pseudo}";
    Access_Type = None; Squash = {squash}; SecType = sys; PrivilegedPort = false;
    Anonymous_Uid = {nobody}; Anonymous_Gid = {nobody};
    FSAL {{ Name = VFS; }}
    CLIENT {{
        Clients = {clients}; Access_Type = {access}; Squash = {squash}; PrivilegedPort = false;
        Anonymous_Uid = {nobody}; Anonymous_Gid = {nobody};
    }}
}}
"""


class GaneshaExporter:
    """See :class:`dlpx_remote.mounts.base.Exporter`. Safe for use from several threads and processes.

    Args:
        server: the engine's own, which is started when it is first needed, or the system's.
    """

    def __init__(self, server: GaneshaServer | SystemGanesha) -> None:
        self.kind = server.kind
        self._server = server
        self._manager = ExportManager(server.bus)
        self._lock = threading.RLock()
        self._log = server.hint

    def maps_owners(self, directory: Path) -> bool:
        """See :meth:`dlpx_remote.mounts.base.Exporter.maps_owners`.

        Ganesha opens files by way of the first mount of their file system, and so without the owners that
        another mount of it maps. Every Btrfs subvolume is a file system to it.
        """
        return directory.stat().st_ino == _SUBVOLUME and _file_system(directory) == _BTRFS

    def add(self, export: Export) -> Served:
        """See :meth:`dlpx_remote.mounts.base.Exporter.add`."""
        _check(export)
        self._server.check()
        with self._locked():
            if self._going(export.name).exists():
                self.remove(export.name)
            path = self._file(export.name)
            former = _read(path)
            number = _number_in(former) or self._next_number()
            text = _text(export, number)
            if former != text:
                _write(path, text)
            try:
                self._serve(path, number, former, text)
            except ExportFailed:
                if former is None:
                    path.unlink(missing_ok=True)
                raise
        return Served("nfs", f"{_ROOT}/{export.name}", self._server.port, "4.1")

    def remove(self, name: str) -> None:
        """See :meth:`dlpx_remote.mounts.base.Exporter.remove`."""
        with self._locked():
            path = self._file(name)
            _fresh(path).unlink(missing_ok=True)  # of a writer that died
            going = self._going(name)
            number = _number_in(_read(path)) or _number_in(_read(going))
            if number is None:
                return
            try:
                self._give_up(number, name)
            except ServerAway as error:
                # What does not run serves nothing, and does not come back with it once the file is gone.
                if path.exists():
                    path.replace(going)
                advice = self._server.remaining(gone=error.gone)
                if advice is None:
                    going.unlink(missing_ok=True)
                else:
                    raise ExportFailed(
                        f"The NFS server does not answer, and may still serve {name}: {error.message}", advice
                    ) from error
            path.unlink(missing_ok=True)
            going.unlink(missing_ok=True)

    def names(self) -> frozenset[str]:
        """See :meth:`dlpx_remote.mounts.base.Exporter.names`."""
        try:
            with self._lock:
                served = self._manager.numbers()
        except ServerAway:
            return frozenset()
        found = ((path.stem, _number_in(_read(path))) for path in self._server.exports.glob("*.conf"))
        return frozenset(name for name, number in found if number in served)

    def problems(self) -> tuple[str, ...]:
        """See :meth:`dlpx_remote.mounts.base.Exporter.problems`."""
        missing = self._server.missing()
        wanted = {path.stem for path in self._server.exports.glob("*.conf")}
        if missing or not wanted:
            return missing
        if not self._answers():
            own = "" if self._server.shared else "; the next mount starts it"
            return (f"The NFS server does not answer on its message bus{own}.",)
        lost = sorted(wanted - self.names())
        return tuple(f"The NFS server does not serve {name}, as it should. {self._log}" for name in lost)

    def close(self) -> None:
        """See :meth:`dlpx_remote.mounts.base.Exporter.close`."""
        with self._lock:
            self._manager.close()

    def _serve(self, path: Path, number: int, former: str | None, text: str) -> None:
        """Have the running server serve what the file says; start it where none runs."""
        for again in (True, False):
            try:
                if former is not None and former != text:
                    self._give_up(number, path.stem)
                refusal = self._manager.add(path, number)
                break
            except ServerAway:
                if not again:
                    raise
                self._server.ensure(self._answers)
        if refusal and "already active" not in refusal:
            raise ExportFailed(f"The NFS server refused to serve {path.stem}: {refusal}", self._log)

    def _give_up(self, number: int, name: str) -> None:
        refusal = self._manager.remove(number)
        if refusal and "not found" not in refusal:
            raise ExportFailed(f"The NFS server does not give up {name}: {refusal}", self._log)

    def _answers(self) -> bool:
        try:
            self._manager.numbers()
        except ServerAway:
            return False
        return True

    def _numbers_of_all(self) -> frozenset[int]:
        try:
            return self._manager.numbers()
        except ServerAway:
            self._server.ensure(self._answers)
            return self._manager.numbers()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock, exclusive(self._server.directory / "exports.lock"):
            self._server.exports.mkdir(parents=True, exist_ok=True)
            yield

    def _file(self, name: str) -> Path:
        return self._server.exports / f"{name}.conf"

    def _going(self, name: str) -> Path:
        """The export's file once it is to be served no longer, for as long as the server has not said so."""
        return self._server.directory / f"{name}.going"

    def _next_number(self) -> int:
        """One that no export has, and that none had lately: a host may still have its file handles."""
        counter = self._server.directory / "number"
        count = int(_read(counter) or 0)
        taken: set[int | None] = set()
        if self._server.shared:
            taken |= self._numbers_of_all()
        if count >= _HIGHEST:
            taken |= {_number_in(_read(path)) for path in self._server.exports.glob("*.conf")}
        while True:
            count += 1
            number = (count - 1) % _HIGHEST + 1
            if number not in taken:
                # On the disk with the export's file, which is next: journals keep the order.
                _write(counter, f"{count}\n", settle=False)
                return number


def _check(export: Export) -> None:
    if not export.directory.is_dir():
        raise ExportFailed(f"The directory {export.directory} to be served is not there.")
    if _UNSAFE.search(str(export.directory)):
        raise ExportFailed(
            f"NFS-Ganesha cannot serve {str(export.directory)!r}: its configuration cannot say quotes, "
            "backslashes and control characters.",
            "Rename the directory, or use the kernel's NFS server.",
        )
    if not export.clients:
        raise ExportFailed(f"Nobody is named to whom {export.name} is to be served.")


def _text(export: Export, number: int) -> str:
    """The export as the server reads it; the same for the same export."""
    return _EXPORT.format(
        number=number,
        checksum=zlib.crc32(export.name.encode()),
        directory=export.directory,
        pseudo=f"{_ROOT}/{export.name}",
        squash="root_squash" if export.root_squash else "no_root_squash",
        clients=", ".join(export.clients),
        access="RO" if export.read_only else "RW",
        nobody=_NOBODY,
    )


def _number_in(text: str | None) -> int | None:
    found = _NUMBER.search(text or "")
    return int(found[1]) if found else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str, *, settle: bool = True) -> None:
    """Whole or not at all, and on the disk: the server is told next."""
    fresh = _fresh(path)
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if settle:
            os.fsync(file.fileno())
    fresh.replace(path)


def _fresh(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f".{path.name}.new")


def _file_system(directory: Path) -> int:
    """The kind of a directory's file system, as statfs(2) numbers it."""
    buffer = (ctypes.c_long * 32)()
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(directory), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer[0] & 0xFFFFFFFF
