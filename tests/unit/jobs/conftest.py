"""A state, and jobs on it that run in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import Limits, Workflow
from dlpx_remote.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    yield opened
    opened.close()


@contextmanager
def jobs_on(store: Store, limits: Limits | None = None, **workflows: Workflow) -> Iterator[Jobs]:
    with Jobs(store, workflows, limits=limits) as jobs:
        yield jobs
