"""Makes every folder below a plugin's source directory importable, with or without ``__init__.py``.

Plugins in the field were packed by a tool that gave each folder an ``__init__.py``: they import
``from operations import discovery`` and read files with ``pkgutil.get_data("resources", "query.sql")``.
Python's own namespace packages allow only the first, and lose against a package of that name elsewhere.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

_SUFFIXES = tuple(importlib.machinery.all_suffixes())


class _FolderLoader(importlib.machinery.SourceFileLoader):
    """Loads a folder as if it held an empty ``__init__.py``."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return compile("", self.path, "exec")

    def get_source(self, fullname: str) -> str:  # noqa: ARG002
        return ""


class FolderFinder:
    """Finds folders without ``__init__.py`` below one directory.

    It is a ``MetaPathFinder`` without that base: importing ``importlib.abc`` takes a sixth of the start.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """A package for the folder, unless a module or a proper package of that name is there."""
        parents = [self._root] if path is None else [Path(entry) for entry in path]
        name = fullname.rpartition(".")[2]
        for parent in parents:
            if not parent.is_relative_to(self._root):
                continue
            folder = parent / name
            if any((parent / f"{name}{suffix}").exists() for suffix in _SUFFIXES):
                return None
            if not folder.is_dir() or any((folder / f"__init__{suffix}").exists() for suffix in _SUFFIXES):
                return None
            file = str(folder / "__init__.py")
            return importlib.util.spec_from_file_location(
                fullname,
                file,
                loader=_FolderLoader(fullname, file),
                submodule_search_locations=[str(folder)],
            )
        return None


def install(root: Path) -> None:
    """Make the folders below ``root`` importable in this process."""
    sys.meta_path.insert(0, FolderFinder(root))
