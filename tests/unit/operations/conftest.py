"""One fork server for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlpx_remote.plugins.worker import Workers
from tests.unit.plugins.worker.support import children


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    before = set(children())
    with Workers() as made:
        yield made
    assert set(children()) <= before, "a process was left behind"
