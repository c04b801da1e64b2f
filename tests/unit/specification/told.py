"""Says at the end of a run that the specification page's examples did not run; a pytest plugin.

Not in this folder's ``conftest.py``: where several processes run the tests, the one that speaks does not
load it.
"""

from __future__ import annotations

import pytest

from tests.unit.specification import page


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it."""
    if page.specification_page() is not None:
        return
    terminalreporter.section("specification page", yellow=True)
    terminalreporter.line(
        f"The examples of the specification page did NOT run: there is no {page.BESIDE_THE_CHECKOUT}. "
        f"To run them, name the page in the environment variable {page.VARIABLE}."
    )
