"""Takes a page apart: its fenced blocks with their marks, its headings and its links. Judges nothing.

A mark is an HTML comment on the lines right above a block: visible in the source, invisible to readers.
``rules.py`` says which there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)(?P<rest>.*)$")
_MARK = re.compile(r"<!--\s*(?P<name>[a-z ]+?)(?::\s*(?P<text>.*?))?\s*-->", re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$")
_LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"(`+).+?\1")


class BadPage(Exception):
    """A page is not built as it must be; the text names file and line."""


@dataclass(frozen=True)
class Mark:
    """One mark above a block.

    Attributes:
        name: such as ``not run``.
        text: what follows the colon; empty where there is none.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: the file.
        line: number of the opening fence's line.
        language: the word behind the fence; empty where there is none.
        text: the lines between the fences.
        marks: above it, in order.
    """

    page: Path
    line: int
    language: str
    text: str
    marks: tuple[Mark, ...]

    def marked(self, name: str) -> str | None:
        """The text of the mark ``name``, or None where the block has none."""
        return next((mark.text for mark in self.marks if mark.name == name), None)

    @property
    def place(self) -> str:
        """``file:line``, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page that a reader is sent to: the README, ``docs``, and the README of each part."""
    others = [*ROOT.glob("examples/*/README.md"), *ROOT.glob("containers/*/README.md")]
    others = [page for page in others if not page.parent.is_symlink()]
    changes = [ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(others), *changes]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        BadPage: a fence is not closed.
    """
    found: list[Block] = []
    lines = page.read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        end = next(
            (at for at in range(number + 1, len(lines)) if lines[at].strip() == "```"),
            None,
        )
        if end is None:
            raise BadPage(f"{page.relative_to(ROOT)}:{number + 1}: this block is not closed")
        indent = len(fence["indent"])
        text = "".join(f"{line[indent:]}\n" for line in lines[number + 1 : end])
        marks = _marks_above(lines, number)
        found.append(Block(page, number + 1, fence["language"], text, marks))
        number = end + 1
    return found


def _marks_above(lines: list[str], fence: int) -> tuple[Mark, ...]:
    """The comments that end right above a fence; blank lines between are allowed."""
    end = fence
    marks: list[Mark] = []
    while True:
        at = end - 1
        while at >= 0 and not lines[at].strip():
            at -= 1
        if at < 0 or not lines[at].rstrip().endswith("-->"):
            return tuple(marks)
        start = at
        while start >= 0 and "<!--" not in lines[start]:
            start -= 1
        comment = _MARK.search("\n".join(lines[max(start, 0) : at + 1]))
        if start < 0 or comment is None:
            return tuple(marks)
        marks.insert(0, Mark(comment["name"], (comment["text"] or "").strip()))
        end = start


def prose(page: Path) -> list[tuple[int, str]]:
    """The lines of a page outside of blocks and comments, code in a line taken out, with their numbers."""
    found = []
    inside = comment = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if _FENCE.match(line) and not comment:
            inside = not inside
        elif not inside:
            comment = comment or "<!--" in line
            if not comment:
                found.append((number, line))
            comment = comment and "-->" not in line
    return found


def anchors(page: Path) -> set[str]:
    """The anchors that a page has: of its headings, made as GitHub and the site make them."""
    found: dict[str, int] = {}
    names = set()
    for _, line in prose(page):
        heading = _HEADING.match(line)
        if heading is None:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[2]).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        again = found.get(name, 0)
        found[name] = again + 1
        names.add(f"{name}-{again}" if again else name)
    return names


def links(page: Path) -> list[tuple[int, str]]:
    """Where a page's links and pictures lead, with the numbers of their lines."""
    found = []
    for number, line in prose(page):
        text = _CODE.sub("", line)
        found += [(number, target) for target in {*_LINK.findall(text), *_IMAGE.findall(text)}]
    return found
