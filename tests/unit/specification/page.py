"""Finds the specification page and takes its examples apart. Judges nothing."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "DLPX_REMOTE_SPECIFICATION"
CHECKOUT = Path(__file__).parents[3]
BESIDE_THE_CHECKOUT = CHECKOUT.parent / "shared" / "spec" / "plugin-operations.md"

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_DECORATOR = re.compile(r"### Decorator\s+`([a-z_.]+)\(\)`")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SCHEMA = re.compile(r"assumes an? \[([\w ]+?) Schema\]")
_DEFINITIONS = {
    "repository": "repositoryDefinition",
    "sourceconfig": "sourceConfigDefinition",
    "linkedsource": "linkedSourceDefinition",
    "virtualsource": "virtualSourceDefinition",
    "snapshot": "snapshotDefinition",
    "snapshotparameters": "snapshotParametersDefinition",
}


@dataclass(frozen=True)
class Example:
    """One example of the page.

    Attributes:
        title: the heading that it stands under.
        operation: the operation's name as its decorator section gives it, for example ``virtual.status``.
        code: as written.
        schemas: the JSON schemas beside it, by the names they have in ``schema.json``.
    """

    title: str
    operation: str
    code: str
    schemas: dict[str, dict[str, Any]]

    def __str__(self) -> str:
        return self.title


def specification_page() -> Path | None:
    """The page: where the environment says, or beside the checkout; None where there is none.

    A path in the environment is taken at its word, so that a wrong one is an error and not a missing page.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    return BESIDE_THE_CHECKOUT if BESIDE_THE_CHECKOUT.is_file() else None


def examples_of(text: str) -> list[Example]:
    """Every example in the page ``text``, in its order.

    Raises:
        ValueError: a section is not built as the page's sections are, so that an example would be missed.
    """
    headings = list(_SECTION.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    sections = [
        (heading[1].strip(), text[heading.end() : end]) for heading, end in zip(headings, ends, strict=True)
    ]
    return [_example(title, body) for title, body in sections if title != "Summary"]


def _example(title: str, body: str) -> Example:
    decorator = _DECORATOR.search(body)
    blocks = _BLOCK.findall(body)
    code = [content for language, content in blocks if language == "python"]
    schemas = [content for language, content in blocks if language == "json"]
    names = [name.replace(" ", "").lower() for name in _SCHEMA.findall(body)]
    if decorator is None or len(code) != 1 or len(schemas) != len(names):
        raise ValueError(f"The section {title!r} has {len(code)} examples and {len(schemas)} schemas.")
    parsed = {_DEFINITIONS[name]: json.loads(schema) for name, schema in zip(names, schemas, strict=True)}
    return Example(title, decorator[1], code[0], parsed)
