"""Draws the pictures of the life cycle: what runs in each engine operation, in which order.

    python docs/pictures.py      # writes docs/pictures/*.svg

The order is that of the table in ``life-cycle.md``; what each plugin operation is, and which engine
operations call it, is that of the table of operations that the code reads. Where the two differ, nothing is
drawn, and the error says what.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dlpx.virtualization.platform.operation_table import OPERATIONS, Operation, PluginType

HERE = Path(__file__).resolve().parent
PICTURES = HERE / "pictures"

_TITLES = {"dsource": "Linked Source", "vdb": "Virtual Source"}
_ROW = re.compile(
    r"^\| `(?P<what>dsource|vdb) (?P<verb>[\w-]+)`(?:, (?P<kind>direct|staged))? \| (?P<order>.*) \|$"
)
_STEP = re.compile(r"\*\*(?P<plugin>.+?)\*\*|`(?P<hook>.+?)`(?P<star>\*?)|\*(?P<engine>[^*]+?)\*")
_CHAIN = (
    ("source config", "link", ""),
    ("dSource", "sync", ""),
    ("snapshots", "provision", "refresh"),
    ("VDB", "snapshot", ""),
    ("its snapshots", "provision", "refresh"),
    ("another VDB", "", ""),
)
"""What is made from what: a thing, and the words above and below the arrow to the next."""
_STYLE = """\
text { font: 13px sans-serif; fill: #222; }
text.name { font-weight: bold; }
text.engine { font-style: italic; }
rect { stroke: #4a6fa5; fill: #e3ecf8; }
.optional { stroke-dasharray: 4 3; }
rect.hook { stroke: #999; fill: #f2f2f2; }
.own { stroke: #ccc; fill: #fff; } path { stroke: #666; fill: none; marker-end: url(#end); }
"""
_HEAD = 190
_WIDTH = 1000
_LINE = 34


class Different(Exception):
    """The page and the table of operations do not say the same."""


@dataclass(frozen=True)
class Step:
    """One step of an engine operation.

    Attributes:
        kind: ``plugin``, ``hook`` or ``engine``.
        text: its name.
        optional: a plugin may leave it out.
    """

    kind: str
    text: str
    optional: bool = False


def rows(page: str) -> Iterator[tuple[str, str, list[Step]]]:
    """``dsource`` or ``vdb``, what is typed, and the steps, of each engine operation in the page.

    Raises:
        Different: a plugin operation is missing, or the table has none such there.
    """
    for line in page.splitlines():
        found = _ROW.match(line)
        if found is None or "**" not in found["order"]:
            continue
        called = _called(found["what"], found["verb"], found["kind"])
        steps = [_step(each, called) for each in _STEP.finditer(found["order"])]
        drawn = {each.text for each in steps if each.kind == "plugin"}
        if drawn != called.keys() and found["verb"] != "status":
            raise Different(
                f"{found['what']} {found['verb']}: the page has {', '.join(sorted(drawn))}; "
                f"the table of operations has {', '.join(sorted(called))}."
            )
        name = f"{found['what']} {found['verb']}" + (f", {found['kind']}" if found["kind"] else "")
        yield found["what"], name, steps


def _called(what: str, verb: str, kind: str | None) -> dict[str, Operation]:
    title = f"{_TITLES[what]} {verb.replace('-', ' ').title()}"
    types = {PluginType[kind.upper()]} if kind else set(PluginType)
    return {
        each.name: each
        for each in OPERATIONS
        if title in each.engine_operations and each.plugin_types & types
    }


def _step(found: re.Match[str], called: dict[str, Operation]) -> Step:
    if found["plugin"]:
        known = called.get(found["plugin"])
        return Step("plugin", found["plugin"], optional=known is not None and not known.required)
    return Step("hook", found["hook"] + found["star"]) if found["hook"] else Step("engine", found["engine"])


def lanes(several: list[tuple[str, list[Step]]]) -> str:
    """A picture with a lane for each engine operation."""
    parts, y = [], 10
    for name, steps in several:
        parts.append(f'<text class="name" x="10" y="{y + 17}">{escape(name)}</text>')
        x = _HEAD
        for number, step in enumerate(steps):
            text = step.text.partition(".")[2] or step.text
            width = 7 * len(text) + 16
            if x + width > _WIDTH:
                x, y = _HEAD + 20, y + _LINE
            if number:
                parts.append(f'<path d="M{x - 18} {y + 12} h12"/>')
            parts.append(_box(x, y, width, text, step))
            x += width + 22
        y += _LINE + 8
    return _picture(_WIDTH + 10, y, parts)


def _box(x: int, y: int, width: int, text: str, step: Step) -> str:
    name = {"plugin": "optional" if step.optional else "plugin", "hook": "hook", "engine": "own"}[step.kind]
    round_ = 12 if step.kind == "hook" else 3
    middle = f'x="{x + width // 2}" y="{y + 17}" text-anchor="middle"'
    return (
        f'<rect class="{name}" x="{x}" y="{y}" width="{width}" height="24" rx="{round_}"/>'
        f'<text class="{step.kind}" {middle}>{escape(text)}</text>'
    )


def chain() -> str:
    """The picture of what is made from what."""
    parts, x = [], 10
    for thing, above, below in _CHAIN:
        width = 8 * len(thing) + 16
        parts.append(_box(x, 24, width, thing, Step("plugin", thing)))
        x += width
        if above:
            parts.append(f'<path d="M{x + 4} 36 h70"/>')
            for word, y in ((above, 28), (below, 54)):
                if word:
                    parts.append(f'<text x="{x + 40}" y="{y}" text-anchor="middle">{word}</text>')
            x += 84
    return _picture(x + 10, 70, parts)


def _picture(width: int, height: int, parts: list[str]) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n'
        f"<style>{_STYLE}</style>\n"
        '<defs><marker id="end" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="7" markerHeight="7" '
        'orient="auto">'
        '<path d="M0 0 L6 3 L0 6 z" style="fill: #666; stroke: none; marker-end: none"/></marker></defs>\n'
        f'<rect class="own" width="{width}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def pictures() -> dict[str, str]:
    """Each picture by the name of its file."""
    found = list(rows((HERE / "life-cycle.md").read_text("utf-8")))
    made = {
        f"{what}.svg": lanes([(name, steps) for kind, name, steps in found if kind == what])
        for what in _TITLES
    }
    return {"life.svg": chain(), **made}


def main() -> int:
    """Write them; the exit code."""
    try:
        made = pictures()
    except Different as trouble:
        print(trouble, file=sys.stderr)
        return 1
    for name, text in made.items():
        (PICTURES / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
