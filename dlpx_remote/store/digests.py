"""Digests of rows: a database checks its structure, but not that a value is what was written."""

from __future__ import annotations

import hashlib
import json
from typing import Any

EMPTY = "0" * 64
"""The combination of no digests at all."""


def digest(*values: Any) -> str:
    """SHA-256 of JSON values, the same however an object's members are ordered."""
    words = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(words.encode("ascii")).hexdigest()


def combined(*digests: str) -> str:
    """The digest of a set of digests; combining one twice takes it out again.

    Raises:
        ValueError: one of them is no digest.
    """
    total = 0
    for each in digests:
        total ^= int(each, 16)
    return f"{total:064x}"
