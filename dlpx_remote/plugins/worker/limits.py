"""How much a plugin's code may take: sizes in bytes, times in seconds. Both sides share it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

EXIT_NO_MEMORY = 71
"""Exit code of a worker that had not even the memory left to say so."""


@dataclass(frozen=True)
class Limits:
    """What one worker may take.

    Attributes:
        operation: bytes of an operation's arguments, and of its result, as JSON.
        exception: bytes of an exception's text, stack trace included; what is beyond is cut off.
        library: bytes of the input, and of the output, of one library call.
        memory: bytes of address space of the worker process; None for no limit. It has to hold the
            interpreter (about 50 MiB) and the output of a library call, as bytes and once more as text.
        timeout: seconds for one operation, its library calls included.
        grace: seconds between asking a worker to end and ending it.
        log: bytes that one operation may print or log; what is beyond is counted and dropped.
    """

    operation: int = 4 * MIB
    exception: int = 128 * KIB
    library: int = 192 * MIB
    memory: int | None = 2 * GIB
    timeout: float = 3600.0
    grace: float = 2.0
    log: int = 16 * MIB

    def to_dict(self) -> dict[str, Any]:
        """The limits as plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The limits from what :meth:`to_dict` gave."""
        return cls(**values)


def size_in_words(size: float) -> str:
    """``4 MiB``, ``5.2 MiB``, ``17 bytes``."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size:g} bytes"
