"""Links between the pages lead somewhere, to the heading too. What lies elsewhere is not asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, anchors, links, pages

PAGES = [str(page.relative_to(ROOT)) for page in pages()]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    dead = [
        f"{page}:{line}: {target}" for line, target in links(ROOT / page) if not _leads(ROOT / page, target)
    ]

    assert not dead, "\n".join(dead)


def _leads(page: Path, target: str) -> bool:
    if target.startswith(("http://", "https://", "mailto:")):
        return True
    file, _, anchor = target.partition("#")
    place = (page.parent / file).resolve() if file else page
    if place != page and not (place.exists() and place.is_relative_to(ROOT)):
        return False
    return not anchor or (place.suffix == ".md" and anchor in anchors(place))


def test_every_page_is_linked_from_the_first_one() -> None:
    reached, waiting = {ROOT / "README.md"}, [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        for _, target in links(page):
            place = (page.parent / target.partition("#")[0]).resolve()
            if place.suffix == ".md" and place.exists() and place not in reached:
                reached.add(place)
                waiting.append(place)

    assert {str(page.relative_to(ROOT)) for page in pages() if page not in reached} == set()


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("[a](README.md)", False),
        ("[a](README.md#dlpx-remote)", False),
        ("[a](README.md#nowhere)", True),
        ("[a](nowhere.md)", True),
        ("[a](#here-and-there)\n\n# Here `and` there", False),
        ("[a](#gone)", True),
        ("[![a](nowhere.svg)](README.md)", True),
        ("`[a](nowhere.md)`", False),
        ("```\n[a](nowhere.md)\n```", False),
        ("[a](https://nowhere.example)", False),
    ],
)
def test_a_dead_link_is_found(tmp_path: Path, text: str, dead: bool) -> None:
    page = tmp_path / "page.md"
    page.write_text(text.replace("(README", f"({ROOT}/README"))

    assert any(not _leads(page, target) for _, target in links(page)) is dead
