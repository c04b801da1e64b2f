"""Exports through the kernel's own NFS server, with ``exportfs``.

What is served is first written to a file of :data:`DIRECTORY`, which the server reads when it starts, then
told to the running server. Exports that others made, in ``/etc/exports`` or by hand, are left alone:
``exportfs -r``, which would take away the latter, is never called.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dlpx_remote.mounts.base import Export, ExportFailed, Served

DIRECTORY = Path("/etc/exports.d")
"""Of exports(5): the server reads every file in it whose name ends with ``.exports``."""

_FILE = "dlpx-remote.exports"
_TABLE = Path("/var/lib/nfs/etab")
_SERVER = Path("/proc/fs/nfsd")
_STANDARD_PORT = 2049
_LIMIT = 30.0
_HEAD = "# Written by dlpx-remote, which loses what is changed here.\n"
_NAME = "# export "
_SPECIAL = re.compile(rb'[\0-\x20"#\\\x7f-\xff]')
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_UNWRITABLE = re.compile(r"[\\\x00-\x1f\x7f]")
# Names file systems that have no number of their own to be told apart by, such as Btrfs's subvolumes.
_NUMBERS = uuid.UUID("f7a3c1de-3a0c-5c57-9d5e-6d1e0f1f3a52")
_SUDOERS = "NOPASSWD: /usr/sbin/exportfs, /usr/bin/install, /usr/bin/mv, /usr/bin/rm, /usr/bin/mkdir"


@dataclass(frozen=True)
class _Entry:
    """A line of an export table: a directory and its options by client."""

    path: str
    clients: Mapping[str, str]


class KernelExporter:
    """See :class:`dlpx_remote.mounts.base.Exporter`.

    Works as root, else through ``sudo -n``. Safe for use from several threads and processes.

    Args:
        any_port: also serve clients whose requests come from ports above 1023, as they do through some
            translations of addresses. Any user of a host can send such requests, in any other user's name.
        directory: for the exports' file; another one than :data:`DIRECTORY` is not read by the server.
    """

    kind = "kernel"

    def __init__(self, *, any_port: bool = False, directory: Path = DIRECTORY) -> None:
        self._any_port = any_port
        self._directory = directory
        self._file = directory / _FILE

    def maps_owners(self, directory: Path) -> bool:  # noqa: ARG002 – whatever lies there
        """Never: the kernel refuses to export a mount with mapped owners."""
        return False

    def add(self, export: Export) -> Served:
        """See :meth:`dlpx_remote.mounts.base.Exporter.add`."""
        if not export.directory.is_dir():
            raise ExportFailed(f"The directory {export.directory} to be served is not there.")
        if _UNWRITABLE.search(str(export.directory)):
            raise ExportFailed(
                f"The kernel's NFS server cannot serve {str(export.directory)!r}: its table of exports has "
                "no way to write backslashes or control characters.",
                "Rename the directory.",
            )
        if not export.clients:
            raise ExportFailed(f"Nobody is named to whom {export.name} is to be served.")
        self._require_server()
        wanted = _Entry(str(export.directory), dict.fromkeys(export.clients, self._options(export)))
        with self._locked():
            entries = self._entries()
            former = entries.get(export.name)
            self._write({**entries, export.name: wanted})
            if former is not None:
                self._withdraw(_without(former, wanted), entries, export.name)
            for client, options in wanted.clients.items():
                self._exportfs("-o", options, _target(client, wanted.path))
            if not _served(wanted, self._table()):
                raise ExportFailed(
                    f"The kernel's NFS server does not serve {export.directory}; exportfs reported success.",
                    f"Look at {_TABLE} and at the server's log.",
                )
        return Served("nfs", wanted.path, self._port(), self._version())

    def remove(self, name: str) -> None:
        """See :meth:`dlpx_remote.mounts.base.Exporter.remove`."""
        with self._locked():
            entries = self._entries()
            entry = entries.pop(name, None)
            if entry is not None:
                # Forgotten last: cut off in between, it can be removed again.
                self._withdraw(entry, entries, name)
                self._write(entries)

    def names(self) -> frozenset[str]:
        """See :meth:`dlpx_remote.mounts.base.Exporter.names`."""
        if not self._running():
            return frozenset()
        table = self._table()
        return frozenset(name for name, entry in self._entries().items() if _served(entry, table))

    def problems(self) -> tuple[str, ...]:
        """See :meth:`dlpx_remote.mounts.base.Exporter.problems`."""
        try:
            self._require_server()
        except ExportFailed as error:
            return (str(error),)
        lacking = sorted(self._entries().keys() - self.names())
        if not lacking:
            return self._without_locks()
        return (
            f"The kernel's NFS server does not serve {', '.join(lacking)}, which {self._file} names. "
            "Run exportfs -a as root.",
        )

    def close(self) -> None:
        """See :meth:`dlpx_remote.mounts.base.Exporter.close`."""

    def _without_locks(self) -> tuple[str, ...]:
        """Version 3 has its locks from another service, and who asks for one without it gets no answer."""
        if self._version() != "3" or _runs("rpc.statd"):
            return ()
        return (
            "The kernel's NFS server serves version 3 only, and rpc.statd does not run: a program on a host "
            "that locks a file waits for ever. Run systemctl enable --now rpc-statd as root.",
        )

    def _options(self, export: Export) -> str:
        number = uuid.uuid5(_NUMBERS, str(export.directory))
        return ",".join(
            (
                "ro" if export.read_only else "rw",
                "root_squash" if export.root_squash else "no_root_squash",
                "insecure" if self._any_port else "secure",
                "sync",
                "no_subtree_check",
                "sec=sys",
                f"fsid={number}",
            )
        )

    def _withdraw(self, entry: _Entry, entries: Mapping[str, _Entry], name: str) -> None:
        """Serve an entry no longer, except to clients to which another name serves the same directory."""
        others = {
            client
            for other, kept in entries.items()
            if other != name and kept.path == entry.path
            for client in kept.clients
        }
        table = self._table()
        for client in entry.clients:
            if client in others or client not in table.get(entry.path, {}):
                continue
            try:
                self._exportfs("-u", _target(client, entry.path))
            except ExportFailed:
                if client in self._table().get(entry.path, {}):
                    raise  # else somebody else was quicker

    def _require_server(self) -> None:
        if _found("exportfs") is None:
            raise ExportFailed(
                "The kernel's NFS server is not installed: there is no exportfs.",
                "Install it (Debian: apt-get install nfs-kernel-server).",
            )
        if not self._running():
            raise ExportFailed(
                "The kernel's NFS server is not running.", "Start it: systemctl enable --now nfs-server."
            )

    @staticmethod
    def _running() -> bool:
        try:
            return int((_SERVER / "threads").read_text()) > 0
        except PermissionError:  # only root may read it
            return any(_is_server(process) for process in Path("/proc").glob("[0-9]*"))
        except (OSError, ValueError):
            return False

    @staticmethod
    def _port() -> int | None:
        """Where the server listens, where that is not the standard port."""
        ports = re.findall(r"^tcp (\d+)$", (_SERVER / "portlist").read_text(), re.MULTILINE)
        return int(ports[0]) if ports and str(_STANDARD_PORT) not in ports else None

    @staticmethod
    def _version() -> str:
        try:
            return "4.1" if "+4.1" in (_SERVER / "versions").read_text().split() else "3"
        except PermissionError:
            return "4.1"  # where that is wrong, the host falls back and says so

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time; the lock is on the directory itself and leaves no file."""
        if not self._directory.is_dir():
            self._run("mkdir", "-p", str(self._directory))
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _entries(self) -> dict[str, _Entry]:
        """What this engine serves, or is about to, by name."""
        entries = {}
        name = None
        for line in _lines(self._file):
            if line.startswith(_NAME):
                name = line[len(_NAME) :]
            elif name is not None and line:
                entries[name] = _entry(line)
                name = None
        return entries

    @staticmethod
    def _table() -> dict[str, dict[str, str]]:
        """What the server has been told to serve, whoever told it: options by client by directory."""
        table: dict[str, dict[str, str]] = {}
        for line in _lines(_TABLE):
            if line:
                entry = _entry(line)
                table.setdefault(entry.path, {}).update(entry.clients)
        return table

    def _write(self, entries: Mapping[str, _Entry]) -> None:
        """Replace the file; it is whole at every moment, and gone where nothing is to be served."""
        if not entries:
            self._run("rm", "-f", str(self._file))
            return
        lines = [f"{_NAME}{name}\n{_line(entry)}\n" for name, entry in sorted(entries.items())]
        text = "".join([_HEAD, *lines])
        # The server does not read a name that begins with a dot.
        fresh = self._directory / f".{_FILE}"
        if os.geteuid() != 0:
            with tempfile.NamedTemporaryFile("w", encoding="ascii") as own:
                own.write(text)
                own.flush()
                self._run("install", "-m", "0644", own.name, str(fresh))
            self._run("mv", "-T", str(fresh), str(self._file))
            return
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)
        parent = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)

    def _exportfs(self, *arguments: str) -> None:
        self._run("exportfs", *arguments)

    @staticmethod
    def _run(program: str, *arguments: str) -> None:
        command = [_found(program) or program, *arguments]
        if os.geteuid() != 0:
            command = ["sudo", "-n", "--", *command]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_LIMIT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ExportFailed(
                f"{program} did not end within {_LIMIT:.0f} s.", "Look at the NFS server's log."
            ) from error
        except OSError as error:
            raise ExportFailed(f"{command[0]} cannot be run: {error.strerror}.", "Install it.") from error
        if done.returncode:
            said = done.stderr.strip()
            last = (said.splitlines() or ["no reason given"])[-1]
            refused = os.geteuid() != 0 and said.startswith("sudo:")
            raise ExportFailed(
                f"{program} failed with exit code {done.returncode}: {last}",
                f"Allow it to the engine's user in sudoers: {_SUDOERS}" if refused else "",
                said,
            )


def _is_server(process: Path) -> bool:
    """Whether it is a thread of the kernel's NFS server."""
    try:
        return (process / "comm").read_text() == "nfsd\n"
    except OSError:
        return False


def _found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="surrogateescape").split("\n")
    except FileNotFoundError:
        return []


def _entry(line: str) -> _Entry:
    """Of a line of exports(5) as :func:`_line` writes it, or of the table, which has the same form."""
    path, *clients = line.split()
    parts = (client.rstrip(")").partition("(") for client in clients)
    return _Entry(_unescaped(path), {client: options for client, _, options in parts})


def _line(entry: _Entry) -> str:
    clients = " ".join(f"{client}({options})" for client, options in entry.clients.items())
    return f"{_escaped(entry.path)} {clients}"


def _escaped(path: str) -> str:
    return _SPECIAL.sub(lambda found: b"\\%03o" % found[0][0], os.fsencode(path)).decode("ascii")


def _unescaped(text: str) -> str:
    raw = text.encode("ascii", "surrogateescape")
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), raw))


def _target(client: str, path: str) -> str:
    return f"[{client}]:{path}" if ":" in client else f"{client}:{path}"


def _without(entry: _Entry, other: _Entry) -> _Entry:
    """What of an entry is not in the other one."""
    if entry.path != other.path:
        return entry
    return _Entry(
        entry.path, {key: value for key, value in entry.clients.items() if key not in other.clients}
    )


def _served(entry: _Entry, table: Mapping[str, Mapping[str, str]]) -> bool:
    return bool(entry.clients) and entry.clients.keys() <= table.get(entry.path, {}).keys()


def _runs(program: str) -> bool:
    """Whether a process of that name runs on this machine."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text().strip() == program:
                return True
    return False
