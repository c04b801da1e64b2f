"""A job on a file system that is full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import JobState
from dlpx_remote.store import Store
from tests.unit.jobs.counting import Counting

_LONG = 60.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB. Mounting it needs root, as CI has."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_job_waits_while_the_disk_is_full(small_disk: Path) -> None:
    counting = Counting()
    counting.go.clear()
    store = Store(small_disk / "state")
    warned: list[str] = []
    with Jobs(store, {"count": counting}, warn=warned.append) as jobs:
        reference = jobs.submit("count", {}, "count")
        assert counting.at.wait(_LONG)
        with _filled(small_disk):
            counting.go.set()
            assert jobs.follow(reference, timeout=3.0).state is JobState.RUNNING
        assert jobs.result(reference, timeout=_LONG) == "three"
    store.close()
    assert counting.ran == {"one": 1, "two": 1, "three": 1, "undo": 0}
    assert any("waits until its steps can be written down" in sentence for sentence in warned)


@contextmanager
def _filled(place: Path) -> Iterator[None]:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    yield
    filler.unlink()
