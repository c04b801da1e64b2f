"""The storage benchmark: its groups fit together. What it measures needs root and a quiet machine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.console import Console

from benchmarks import storage
from benchmarks.records import Record


def test_no_measure_is_in_two_groups() -> None:
    assert len(storage.MEASURES) == len(set(storage.MEASURES))
    assert {"clone-1k", "clone-100k", "clone-1m", "clone-flat", "clone-space"} <= set(storage.MEASURES)


def test_each_group_is_asked_for_its_own_measures_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Sequence[str], int | None]] = []

    class Group:
        def __init__(self, name: str) -> None:
            self.name = name
            self.MEASURES = (f"{name}-one", f"{name}-two")

        def run(self, only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
            asked.append((self.name, list(only), rounds))
            return []

    groups = [Group("a"), Group("b"), Group("c")]
    monkeypatch.setattr(storage, "_groups", lambda: groups)
    storage.run(["a-two", "c-one"], 3, Console(stderr=True))
    assert asked == [("a", ["a-two"], 3), ("c", ["c-one"], 3)]
    asked.clear()
    storage.run([], None, Console(stderr=True))
    assert [name for name, _, _ in asked] == ["a", "b", "c"]
