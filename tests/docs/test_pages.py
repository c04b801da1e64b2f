"""Every block of every page does what it says; see ``rules.py`` for how."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.machine import Machine, machine
from tests.docs.markdown import ROOT, blocks, pages
from tests.docs.rules import NOT_RUN
from tests.docs.running import carry_out

PAGES = [str(page.relative_to(ROOT)) for page in pages() if blocks(page)]

# One process carries all of them out, one after the other, in one machine: making it, and what most pages
# take for granted, costs more than waiting. A page has up to a hundred commands.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def throw_away_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One for all pages."""
    with machine(tmp_path_factory.mktemp("machine")) as made:
        made.be_quick()
        yield made


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: str, throw_away_machine: Machine) -> None:
    troubles = carry_out(throw_away_machine, ROOT / page)
    assert not troubles, "\n".join(troubles)


def test_blocks_that_are_not_run_say_why_and_are_counted() -> None:
    reasons = {
        block.place: block.marked("not run")
        for page in PAGES
        for block in blocks(ROOT / page)
        if block.marked("not run") is not None
    }
    assert len(reasons) == NOT_RUN, "\n".join(f"{place}: {reason}" for place, reason in reasons.items())
