"""Decides whether the specification page's examples can run here, and says so where they cannot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlpx_remote.plugins.worker import Workers
from tests.unit.specification.page import BESIDE_THE_CHECKOUT, VARIABLE, specification_page

# The page is not part of this project: a clone has it only where its owner put it beside the checkout. The
# project's own examples cover the same ground everywhere.
collect_ignore = [] if specification_page() else ["test_examples_of_the_page.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not collect_ignore:
        return
    terminalreporter.section("specification page", yellow=True)
    terminalreporter.line(
        f"The examples of the specification page did NOT run: there is no {BESIDE_THE_CHECKOUT}. "
        f"To run them, name the page in the environment variable {VARIABLE}."
    )


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    with Workers() as workers:
        yield workers
