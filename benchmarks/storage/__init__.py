"""The storage benchmark: what clones, exports and mounts cost; each group of measures has a module."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console

from benchmarks.records import Record

GROUPS = ("benchmarks.storage.clones", "benchmarks.storage.exports", "benchmarks.storage.mounted")
"""Modules with ``MEASURES`` and ``run``; asked in this order."""


class Group(Protocol):
    """What the module of a group has."""

    MEASURES: Sequence[str]

    def run(self, only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
        """Take those of its measures that are named; see :mod:`benchmarks.__main__`."""
        ...


def _groups() -> list[Group]:
    return [importlib.import_module(name) for name in GROUPS]


MEASURES = [measure for group in _groups() for measure in group.MEASURES]


def run(only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
    """Take the measures named (all when none); see :mod:`benchmarks.__main__`."""
    records: list[Record] = []
    for group in _groups():
        wanted = [measure for measure in group.MEASURES if not only or measure in only]
        if wanted:
            records += group.run(wanted, rounds, console)
    return records
