"""A plugin as one file, to hand over and to add elsewhere.

The file is a zip archive of just what the engine would copy. Its bytes depend on nothing but the plugin's
files: entries are sorted, stored as they are, and all carry the same time and permissions.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dlpx_remote.errors import RemoteError
from dlpx_remote.plugins.config import CONFIG_FILE
from dlpx_remote.plugins.install import plugin_files
from dlpx_remote.plugins.plugin import Plugin

SUFFIX = ".dlpx.zip"
LARGEST = 256 * 1024 * 1024
"""Bytes that a packaged plugin may take once unpacked."""
_MOST_FILES = 20_000
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that the format knows


class PackageUnusable(RemoteError):
    """A file that should hold a plugin cannot be read as one, or cannot be written."""


@dataclass(frozen=True)
class Package:
    """A plugin that was packaged.

    Attributes:
        file: where it is.
        size: bytes.
        files: names of the files in it, in order.
    """

    file: Path
    size: int
    files: tuple[str, ...]


def build_package(plugin: Plugin, target: Path | None = None) -> Package:
    """Write a plugin into one file, whole or not at all.

    Args:
        plugin: a plugin that was loaded and checked.
        target: the file, or a directory for it; None is the current directory. The default name is made of
            the plugin's name and build number.

    Raises:
        PackageUnusable: it cannot be written.
        InvalidRequest: the plugin has a link that leads out of it, or something that is no file.
    """
    target = target or Path()
    file = target / default_name(plugin) if target.is_dir() else target
    names = []
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as raw, zipfile.ZipFile(raw, "w") as archive:
                for path in plugin_files(plugin.directory, plugin):
                    name = path.relative_to(plugin.directory).as_posix()
                    names.append(name)
                    archive.writestr(_entry(name, path), path.read_bytes())
            umask = os.umask(0)
            os.umask(umask)
            Path(beside).chmod(0o666 & ~umask)
            Path(beside).replace(file)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PackageUnusable(
            f"The plugin {plugin.config.name} could not be written to {file}: {why}.",
            "Name a file in a directory that exists and that you may write to, with --file.",
        ) from error
    return Package(file, file.stat().st_size, tuple(names))


def default_name(plugin: Plugin) -> str:
    """``my-plugin-1.0.2.dlpx.zip`` for the plugin *My plugin*, build 1.0.2."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", plugin.config.name).strip("-").lower() or plugin.config.id.lower()
    return f"{words}-{plugin.config.build_number}{SUFFIX}"


@contextmanager
def unpacked(file: Path) -> Iterator[Path]:
    """The directory of a packaged plugin, for as long as the ``with`` block runs.

    Raises:
        PackageUnusable: the file is no package, or holds what no package has: a path that leads out of it, a
            link, more than :data:`LARGEST` bytes.
    """
    with tempfile.TemporaryDirectory(prefix="dlpx-remote-plugin-") as place:
        directory = Path(place)
        try:
            with zipfile.ZipFile(file) as archive:
                _unpack(archive, file, directory)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise PackageUnusable(
                f"{file} is no packaged plugin, or a damaged one: {error}.",
                "Make it with: dlpx-remote plugin build DIRECTORY.",
            ) from error
        except OSError as error:
            raise PackageUnusable(
                f"{file} could not be unpacked: {error.strerror or error}.",
                "Check the file's permissions and the free space for temporary files.",
            ) from error
        yield directory


def _entry(name: str, path: Path) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    entry.create_system = 3  # Unix, whatever it was made on
    executable = path.stat().st_mode & stat.S_IXUSR
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    return entry


def _unpack(archive: zipfile.ZipFile, file: Path, directory: Path) -> None:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if CONFIG_FILE not in {entry.filename for entry in entries}:
        raise PackageUnusable(
            f"{file} is no packaged plugin: it has no {CONFIG_FILE}.",
            "Make it with: dlpx-remote plugin build DIRECTORY.",
        )
    if len(entries) > _MOST_FILES or sum(entry.file_size for entry in entries) > LARGEST:
        raise PackageUnusable(
            f"{file} holds more than a plugin may: {_MOST_FILES} files and {LARGEST >> 20} MiB.",
            "Leave out of the plugin's directory what is no part of it, and build it again.",
        )
    for entry in entries:
        _refuse_strange(entry, file)
        path = directory / entry.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        # No more is read than the entry admits to, whatever its data unpacks to.
        with archive.open(entry) as packed:
            path.write_bytes(packed.read(entry.file_size))
        path.chmod(0o755 if entry.external_attr >> 16 & stat.S_IXUSR else 0o644)


def _refuse_strange(entry: zipfile.ZipInfo, file: Path) -> None:
    name = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or kind not in (0, stat.S_IFREG):
        raise PackageUnusable(
            f"{file} holds {entry.filename!r}, which no packaged plugin has: a path that leads out of it, or "
            "something that is no file.",
            "Do not add it; ask for a package made with: dlpx-remote plugin build DIRECTORY.",
        )
