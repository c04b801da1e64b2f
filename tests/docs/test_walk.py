"""What the walks carry out is all that the tutorials say, and each page tells the time that it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks
from tests.docs.walk import PAGES, TIMES, WALK, sentence, walked

TUTORIALS = ("docs/tutorial.md", "docs/plugin-tutorial.md")
LIMIT = 15
"""Minutes that a new user is to need for the commands of a page."""


@pytest.mark.parametrize("page", TUTORIALS)
def test_every_block_of_a_tutorial_is_walked(page: str) -> None:
    found = blocks(ROOT / page)

    assert page in PAGES
    assert all(walked(block) for block in found)
    left_out = [block.place for block in found if WALK not in (block.marked("not run") or WALK)]
    assert not left_out, "these blocks run nowhere"
    hidden = [block.place for block in found if block.marked("first") or block.marked("given")]
    assert not hidden, "a new user has nothing that the page does not show"


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_tells_the_time_of_its_last_walk(page: str) -> None:
    told = TIMES.findall((ROOT / page).read_text("utf-8"))

    assert len(told) == 1, "run `tox -e walks -- --write`"
    assert int(told[0]) < LIMIT


def test_the_first_commands_of_the_readme_are_walked() -> None:
    found = [block for block in blocks(ROOT / "README.md") if walked(block)]

    assert ["dlpx-remote demo --install-missing" in block.text for block in found] == [True]


def test_the_time_of_a_walk_is_found_again_where_it_was_put(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Some words.\n\n{sentence(61.6)}\n\nMore words.\n")

    again = sentence(600, load=7.4)
    assert TIMES.sub(again, page.read_text()) == f"Some words.\n\n{again}\n\nMore words.\n"
    assert TIMES.findall(page.read_text()) == ["1"]
