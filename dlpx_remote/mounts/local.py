"""Exports to a host that is the engine's own machine: nothing is served, a directory is mounted again.

What is exported is kept as a file each below the engine's state, so that it can be asked for like any other
server's exports.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dlpx_remote.mounts.base import Export, ExportFailed, Served


class LocalExporter:
    """See :class:`dlpx_remote.mounts.base.Exporter`.

    Root squash and client addresses mean nothing here: whoever is root on the engine's machine is root.

    Args:
        directory: of the engine, for the list of exports; made when it is missing.
    """

    kind = "local"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def maps_owners(self, directory: Path) -> bool:  # noqa: ARG002 – any mount can be bound elsewhere
        """See :meth:`dlpx_remote.mounts.base.Exporter.maps_owners`."""
        return True

    def add(self, export: Export) -> Served:
        """See :meth:`dlpx_remote.mounts.base.Exporter.add`."""
        if not export.directory.is_dir():
            raise ExportFailed(f"The directory {export.directory} to be served is not there.")
        self._directory.mkdir(parents=True, exist_ok=True)
        marker = self._directory / export.name
        fresh = marker.with_name(f".{export.name}.{os.getpid()}.new")
        fresh.write_text(f"{export.directory}\n", encoding="utf-8", errors="surrogateescape")
        fresh.replace(marker)
        return Served("bind", str(export.directory), version="")

    def remove(self, name: str) -> None:
        """See :meth:`dlpx_remote.mounts.base.Exporter.remove`."""
        (self._directory / name).unlink(missing_ok=True)
        for fresh in self._directory.glob(f".{name}.*.new"):  # of a writer that died
            fresh.unlink(missing_ok=True)

    def names(self) -> frozenset[str]:
        """See :meth:`dlpx_remote.mounts.base.Exporter.names`."""
        with contextlib.suppress(FileNotFoundError):
            return frozenset(
                entry.name for entry in self._directory.iterdir() if not entry.name.startswith(".")
            )
        return frozenset()

    def problems(self) -> tuple[str, ...]:
        """See :meth:`dlpx_remote.mounts.base.Exporter.problems`."""
        return ()

    def close(self) -> None:
        """See :meth:`dlpx_remote.mounts.base.Exporter.close`."""
