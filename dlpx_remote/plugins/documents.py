"""YAML and JSON files of a plugin, with the line of every value, so that a problem can name its place.

This module knows the two formats, and nothing of what the files mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from dlpx_remote.plugins.problems import Problems

Path_ = tuple[str | int, ...]
"""Where a value lies in a document: keys and indexes from the root."""


@dataclass(frozen=True)
class Document:
    """A file that was read and understood.

    Attributes:
        value: what it holds, as plain Python values.
        text: the file's text.
    """

    value: Any
    text: str = field(repr=False)

    def line(self, path: Path_) -> int | None:
        """The line, from 1, of what lies at ``path``, or of the nearest thing around it that exists."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)

    @cached_property
    def _lines(self) -> dict[Path_, int]:
        # Found only when a problem must be shown: most files have none.
        try:
            node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, RecursionError):
            return {}
        return {path: one.start_mark.line + 1 for path, one, _ in _walk(node, (), set())}


def _walk(
    node: yaml.Node | None, path: Path_, visited: set[int]
) -> Iterator[tuple[Path_, yaml.Node, Path_ | None]]:
    """Every place of a document with the node to point at; third, for a key seen before, its path again.

    What several places share by an alias is gone through once: there may be no end of such places.
    """
    if node is None or id(node) in visited:
        return
    if not path:
        yield path, node, None
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            here = (*path, name)
            yield here, key, here if name in seen else None
            seen.add(name)
            yield from _walk(value, here, visited)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item, None
            yield from _walk(item, (*path, index), visited)


def read_text(path: Path, problems: Problems, missing_hint: str = "") -> str | None:
    """The text of a UTF-8 file; None after adding the problem that keeps it from being read."""
    try:
        return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        problems.error("The file does not exist.", missing_hint)
    except IsADirectoryError:
        problems.error("A file was expected here, but it is a directory.")
    except PermissionError:
        problems.error("The file cannot be read: permission denied.", "Give your account read access to it.")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.error("The file is not UTF-8 text.", "Save it as UTF-8.", line=line)
    except OSError as error:
        problems.error(f"The file cannot be read: {error.strerror or error}.")
    return None


def parse_yaml(text: str, problems: Problems) -> Document | None:
    """The one YAML document in ``text``; None after adding why it is none."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        column = "" if mark is None else f" at column {mark.column + 1}"
        reason = error.problem or error.context or "it cannot be understood"
        problems.error(
            f"This is not valid YAML{column}: {reason}.",
            "Check indentation, colons and quotes on this line and the one before.",
            line=line,
        )
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems.error(f"This is not valid YAML: {str(error).splitlines()[0]}.")
        return None
    _report_duplicates(node, problems, place_of)
    return Document(value, text)


def parse_json(text: str, problems: Problems) -> Document | None:
    """The JSON document in ``text``; None after adding why it is none."""
    duplicates = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal duplicates
        found = dict(items)
        duplicates = duplicates or len(found) < len(items)
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON value")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
    except json.JSONDecodeError as error:
        problems.error(
            f"This is not valid JSON at column {error.colno}: {error.msg}.",
            "Look for a missing or surplus comma, quote or bracket on this line and the one before.",
            line=error.lineno,
        )
        return None
    except RecursionError:
        problems.error("This JSON is nested too deeply to be read.")
        return None
    except ValueError as error:
        problems.error(f"This is not valid JSON: {error}.")
        return None
    # JSON is YAML but for tabs between values, which JSON forbids inside of strings.
    document = Document(value, text.replace("\t", " "))
    if duplicates:
        try:
            _report_duplicates(yaml.compose(document.text, Loader=yaml.SafeLoader), problems, pointer_of)
        except (yaml.YAMLError, RecursionError):
            problems.error("A key stands more than once in one object.")
    return document


def _report_duplicates(node: yaml.Node | None, problems: Problems, place: Callable[[Path_], str]) -> None:
    first: dict[Path_, int] = {}
    for path, key, repeated in _walk(node, (), set()):
        line = key.start_mark.line + 1
        if repeated is not None:
            problems.error(
                f"The key `{path[-1]}` stands here a second time; the first is on line {first[repeated]}.",
                "Keep one of them.",
                line=line,
                place=place(path),
            )
        first.setdefault(path, line)


def place_of(path: Path_) -> str:
    """``path`` for people: ``hostTypes[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def pointer_of(path: Path_) -> str:
    """``path`` as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
