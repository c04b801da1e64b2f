"""What can be wrong with a plugin on disk, as values that a person and a program can both use.

This module knows nothing of how problems are found; config, schema, source and worker checks all make them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dlpx_remote.errors import RemoteError

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a plugin.

    Attributes:
        severity: ``error`` keeps the plugin from loading, ``warning`` does not.
        file: path of the file, as given by the caller or relative to the plugin's directory.
        line: counted from 1; None when the problem belongs to no line.
        place: what within the file: a key (``hostTypes[0]``), a JSON pointer, a function.
        message: one sentence: what was found, and what was expected.
        hint: what to do; empty when the message says it all.
    """

    severity: Severity
    file: str
    line: int | None
    place: str
    message: str
    hint: str = ""

    @property
    def location(self) -> str:
        """``file:line`` as editors understand it."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        place = f" {self.place}:" if self.place else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.location}: {self.severity}:{place} {self.message}{hint}"


class PluginInvalid(RemoteError):
    """A plugin cannot be loaded.

    Args:
        directory: the plugin's directory.
        problems: everything found, errors and warnings, in the order of the files.
    """

    def __init__(self, directory: str, problems: Iterable[Problem]) -> None:
        self.directory = directory
        self.problems = tuple(problems)
        errors = [problem for problem in self.problems if problem.severity == "error"]
        count = "one error" if len(errors) == 1 else f"{len(errors)} errors"
        listing = "".join(f"\n  {problem}" for problem in errors)
        super().__init__(
            f"The plugin in {directory} cannot be loaded: {count}.{listing}",
            f"\nCorrect it; `dlpx-remote plugin check {directory}` shows everything at once.",
        )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that was most likely meant by ``word``; None when nothing is near."""
    by_lower = {name.replace("_", "").lower(): name for name in known}
    found = difflib.get_close_matches(word.replace("_", "").lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint that names the nearest of ``known``, or all of them when none is near."""
    name = nearest(word, known)
    if name is not None:
        return f"Did you mean `{name}`?"
    return f"Known are: {', '.join(known)}."


class Problems:
    """Gathers the problems of one file while it is read.

    Args:
        file: its path relative to the plugin's directory.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []

    def error(self, message: str, hint: str = "", *, line: int | None = None, place: str = "") -> None:
        """Add an error."""
        self.found.append(Problem("error", self.file, line, place, message, hint))

    def warning(self, message: str, hint: str = "", *, line: int | None = None, place: str = "") -> None:
        """Add a warning."""
        self.found.append(Problem("warning", self.file, line, place, message, hint))

    def in_order(self) -> list[Problem]:
        """What was found, in the order of the file's lines."""
        return sorted(self.found, key=lambda problem: problem.line or 0)

    @property
    def failed(self) -> bool:
        """True when there is an error among them."""
        return any(problem.severity == "error" for problem in self.found)
