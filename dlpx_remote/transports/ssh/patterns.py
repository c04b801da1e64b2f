"""OpenSSH's patterns of host names (ssh_config(5)): ``*`` and ``?`` are wild, case means nothing."""

from __future__ import annotations

import fnmatch


def matches(pattern: str, name: str) -> bool:
    """Whether one pattern fits a name."""
    return fnmatch.fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))
