"""What the documents promise: the example plugin is valid, and every command line in them exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dlpx_remote.cli.exits import Exit
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.test_words import ALL_COMMANDS

ROOT = Path(__file__).resolve().parents[3]
_BEFORE_THE_COMMAND = ("--verbose", "--state", "--database", "--database-from")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(document: Path) -> list[tuple[str, str]]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found]


def _command_lines() -> list[tuple[str, list[str]]]:
    lines = []
    for document in DOCUMENTS:
        for language, text in _blocks(document):
            if language:
                continue
            for line in text.splitlines():
                found = re.match(r"(?:\$ |.*\| )?dlpx-remote (?!\[)(.*)", line)
                if found:
                    lines.append((document.name, shlex.split(found.group(1))))
    return lines


def write_documented_plugin(directory: Path) -> Path:
    """The three files of the documentation's example, as a reader would write them."""
    (directory / "src").mkdir(parents=True)
    blocks = dict(reversed(_blocks(ROOT / "docs" / "writing-a-plugin.md")))  # the first of each language
    (directory / "plugin_config.yml").write_text(blocks["yaml"])
    (directory / "schema.json").write_text(blocks["json"])
    (directory / "src" / "sqlite_plugin.py").write_text(blocks["python"])
    return directory


def test_the_plugin_in_the_documentation_passes_its_check(command: CommandLine, files: Path) -> None:
    plugin = write_documented_plugin(files / "sqlite")

    outcome = command("plugin", "check", str(plugin))

    assert "error" not in outcome.out, outcome.out
    assert outcome.code == 0, outcome.err
    assert "Plugin sqlite can be added: 2 operations" in outcome.out


def test_command_lines_in_the_documents_exist(command: CommandLine) -> None:
    lines = _command_lines()
    helps: dict[tuple[str, ...], str] = {}  # most commands are in many lines

    assert len(lines) > 20
    for document, words in lines:
        name = next(
            (known for known in ALL_COMMANDS if tuple(_without_options(words)[: len(known)]) == known), None
        )
        assert name is not None, f"{document}: dlpx-remote {shlex.join(words)}"
        if name not in helps:
            helps[name] = command(*name, "--help").out
        for word in words:
            if word.startswith("--") and word not in _BEFORE_THE_COMMAND:
                assert word in helps[name], f"{document}: dlpx-remote {shlex.join(words)}: no option {word}"


def _without_options(words: list[str]) -> list[str]:
    """The words without those that may come before the command."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        rest = rest[1:] if rest[0] in ("--verbose", "-v") else rest[2:]
    return rest


@pytest.mark.parametrize("code", list(Exit), ids=lambda code: code.name)
def test_every_exit_code_is_documented(code: Exit) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")

    assert f"\n| {code.value} |" in page
