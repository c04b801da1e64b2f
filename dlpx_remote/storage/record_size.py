"""The record size that a data set asks for: its check, as the SDK's documentation has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlpx_remote.errors import InvalidRequest

PARAMETER = "recordSizeInKB"
"""The name of the property in a linked or virtual source's parameters."""

SMALLEST, LARGEST = 1, 16384
"""KiB; powers of two between them are allowed."""

_KIBIBYTE = 1024


def record_size_in(parameters: Mapping[str, Any]) -> int | None:
    """The record size that the parameters of a dSource or an empty VDB ask for.

    Args:
        parameters: by schema names.

    Returns:
        Bytes; None where nothing is asked for, which leaves it to the file system. A VDB with a parent takes
        what its parent has.

    Raises:
        InvalidRequest: it is no power of two from 1 to 16384.
    """
    value = parameters.get(PARAMETER)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON knows no integers
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value)
    if not SMALLEST <= value <= LARGEST or value & (value - 1):
        raise _wrong(value)
    return value * _KIBIBYTE


def _wrong(value: Any) -> InvalidRequest:
    return InvalidRequest(
        f"{PARAMETER} is {value!r}, which cannot be a record size.",
        f"It is a power of two from {SMALLEST} to {LARGEST}.",
    )
