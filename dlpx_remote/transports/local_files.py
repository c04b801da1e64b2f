"""The local side of every copying of a file: one to read, and one to write that appears when it is whole."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def regular(path: Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """A regular file, open for reading, and what was known of it then.

    Raises:
        OSError: there is none.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait
        raise OSError(0, f"{path} is no regular file")
    with path.open("rb", buffering=0) as file:
        yield file, os.fstat(file.fileno())


@contextlib.contextmanager
def beside(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file beside ``path``, to be renamed over it; gone at the end where it was not.

    Raises:
        OSError: there can be none.
    """
    if path.is_dir():
        raise OSError(0, f"{path} is a directory")
    descriptor, name = tempfile.mkstemp(prefix=".dlpx-remote.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, temporary
    finally:
        temporary.unlink(missing_ok=True)
