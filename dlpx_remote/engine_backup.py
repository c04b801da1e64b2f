"""The part of the engine's Python API that keeps the state in a file and brings it back."""

from __future__ import annotations

from pathlib import Path

from dlpx_remote.store import Store
from dlpx_remote.store.archive import Archive, ArchiveUnusable, read_archive, restore_archive, write_archive

__all__ = ["Archive", "ArchiveUnusable", "back_up", "read_archive", "restore"]


def back_up(state: Path, database: str | None, file: Path) -> Archive:
    """Keep the state in ``file``, as it is at one moment. Data sets stay where they are.

    Args:
        state: the state directory.
        database: URL; None for SQLite in ``state``.
        file: must not be there yet.

    Raises:
        ArchiveUnusable: the file cannot be written.
        InvalidRequest: a job has not ended.
        StateError: the state cannot be read.
    """
    store = Store(state, database)
    try:
        return write_archive(store, file)
    finally:
        store.close()


def restore(file: Path, state: Path, database: str | None = None) -> Archive:
    """Make a state of a backup, where there is none yet.

    Raises:
        ArchiveUnusable: the file is no backup, or a damaged one. Nothing was made.
        InvalidRequest: there is a state already. It was left as it is.
        StateError: the directory or database cannot be used.
    """
    return restore_archive(file, state, database)
