"""Help, version, and how little is imported for them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from dlpx_remote.cli.application import application
from dlpx_remote.cli.completing import leaves
from dlpx_remote.engine import Engine
from tests.unit.cli.conftest import CommandLine

_HEAVY = (
    "alembic",
    "dbos",
    "dlpx_remote.engine",
    "jsonschema",
    "paramiko",
    "requests",
    "rich",
    "sqlalchemy",
    "winrm",
    "yaml",
)
_PROGRAM = """
import json, sys
from dlpx_remote.cli import main
main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield words
        return
    for name, inner in below.items():
        yield from _commands(inner, (*words, name))


def _imported_by(*words: str) -> set[str]:
    command = [sys.executable, "-c", _PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


ALL_COMMANDS = sorted(_commands(typer.main.get_command(application)))


def test_there_are_the_commands_that_the_documentation_names() -> None:
    assert [" ".join(words) for words in ALL_COMMANDS] == [
        "backup",
        "credential add",
        "credential list",
        "credential remove",
        "credential test",
        "demo",
        "discover",
        "doctor",
        "dsource configure",
        "dsource delete",
        "dsource disable",
        "dsource enable",
        "dsource link",
        "dsource list",
        "dsource show",
        "dsource size",
        "dsource status",
        "dsource sync",
        "dsource worker",
        "env add",
        "env list",
        "env privilege",
        "env refresh",
        "env remove",
        "env show",
        "env test",
        "env user add",
        "env user primary",
        "env user remove",
        "events configure",
        "events off",
        "events show",
        "events test",
        "export",
        "hook add",
        "hook list",
        "hook remove",
        "hook template list",
        "hook template remove",
        "hook template set",
        "job cancel",
        "job follow",
        "job list",
        "job logs",
        "job prune",
        "job show",
        "lineage",
        "mount",
        "nfs configure",
        "nfs host",
        "nfs status",
        "nfs stop",
        "plugin add",
        "plugin build",
        "plugin check",
        "plugin init",
        "plugin list",
        "plugin run",
        "plugin show",
        "plugin stubs",
        "restore",
        "run",
        "schedule add",
        "schedule disable",
        "schedule enable",
        "schedule history",
        "schedule list",
        "schedule remove",
        "schedule run",
        "snapshot delete",
        "snapshot list",
        "snapshot show",
        "source-config add",
        "source-config list",
        "status",
        "storage init",
        "storage list",
        "storage status",
        "storage usage",
        "unmount",
        "vdb create-empty",
        "vdb delete",
        "vdb disable",
        "vdb enable",
        "vdb list",
        "vdb provision",
        "vdb refresh",
        "vdb rollback",
        "vdb show",
        "vdb size",
        "vdb snapshot",
        "vdb start",
        "vdb status",
        "vdb stop",
        "vdb undo",
        "worker",
    ]


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_the_help_of_every_command_has_an_example_of_it(words: tuple[str, ...], command: CommandLine) -> None:
    outcome = command(*words, "--help")

    assert outcome.code == 0
    assert "Example:" in outcome.out
    assert f"dlpx-remote {' '.join(words)}" in outcome.out


def test_each_wrong_option_and_each_missing_word_is_named_with_where_to_look(command: CommandLine) -> None:
    for words, leaf in leaves(typer.main.get_command(application)):
        unknown = command(*words, "--no-such-option")
        assert unknown.code == 2, words
        assert "--no-such-option" in unknown.err
        assert f"dlpx-remote {' '.join(words)} --help" in unknown.err or "-h" in unknown.err
        required = [one for one in leaf.params if one.required]
        if required:
            missing = command(*words)
            assert missing.code == 2, words
            assert "Missing" in missing.err, words
            assert "--help" in missing.err or "-h" in missing.err


def test_version_is_that_of_the_distribution(command: CommandLine) -> None:
    outcome = command("--version")

    assert (outcome.code, outcome.out) == (0, f"dlpx-remote {version('dlpx-remote')}\n")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    assert _imported_by(option).isdisjoint(_HEAVY)


@pytest.mark.parametrize("words", [("env", "list"), ("job", "list"), ("plugin", "list")], ids=" ".join)
def test_listing_what_is_known_loads_neither_transport_nor_validator_nor_migrations(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    Engine(tmp_path / "state").close()  # the first opening migrates

    assert _imported_by("--state", str(tmp_path / "state"), *words).isdisjoint(
        {"alembic", "dbos", "jsonschema", "paramiko", "requests", "winrm"}
    )


def test_no_command_shows_the_help_and_counts_as_wrong_use(command: CommandLine) -> None:
    outcome = command()

    assert outcome.code == 2
    assert "Usage: dlpx-remote" in outcome.out + outcome.err


def test_completion_for_a_shell_is_offered() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from dlpx_remote.cli import main; raise SystemExit(main())"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "_DLPX_REMOTE_COMPLETE": "complete_bash",
            "COMP_WORDS": "dlpx-remote env t",
            "COMP_CWORD": "2",
            "PATH": "/usr/bin:/bin",
        },
    )

    assert done.stdout.split() == ["test"]
