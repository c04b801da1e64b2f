"""Decides whether the specification page's examples can run here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlpx_remote.plugins.worker import Workers
from tests.unit.specification.page import specification_page

# The page is not part of this project: a clone has it only where its owner put it beside the checkout. The
# project's own examples cover the same ground everywhere.
collect_ignore = [] if specification_page() else ["test_examples_of_the_page.py"]


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    with Workers() as workers:
        yield workers
