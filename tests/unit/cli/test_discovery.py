"""``discover``: table, failures, JSON and exit code. The engine is a stub here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote import engine
from dlpx_remote.engine import DiscoveryReport, EnvironmentSpec, Failure, PluginDiscovery
from tests.unit.cli.conftest import CommandLine, StubEngine, discovered, repository

REPORT = DiscoveryReport(
    "JOB-1",
    (
        PluginDiscovery(
            "postgres",
            "db1",
            (
                repository(
                    "PostgreSQL 15.4", [discovered("main"), discovered("archive", "gone")], "unchanged"
                ),
                repository("PostgreSQL 16.1"),
            ),
        ),
        PluginDiscovery("files", "db1"),
    ),
    1.25,
)
TABLE = """\
environment   plugin     repository        source config   change
────────────────────────────────────────────────────────────────────
db1           postgres   PostgreSQL 15.4                   unchanged
                                           main            new
                                           archive         gone
                         PostgreSQL 16.1                   new

1 environment, 2 plugins: 2 repositories, 2 source configs (2 new, 1 gone) in 1.2 s.
"""
FAILED = DiscoveryReport(
    "JOB-2",
    (
        *REPORT.results,
        PluginDiscovery(
            "postgres", "db2", failure=Failure("ConnectionRefused", "Nobody listens.", "Start sshd.", "a\nb")
        ),
    ),
    0.5,
)


def test_the_table_has_a_row_for_each_repository_and_source_config(
    command: CommandLine, stub: StubEngine
) -> None:
    stub.answers["discover"] = REPORT

    outcome = command("discover")

    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out == TABLE


def test_names_go_to_the_engine(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["discover"] = REPORT

    command("discover", "db1", "db2", "--plugin", "postgres", "-p", "files", "--parallel", "4")

    arguments, options = stub.called("discover")
    assert arguments == (["db1", "db2"], ["postgres", "files"])
    assert options["parallel"] == 4


def test_a_failed_part_is_shown_below_and_makes_the_exit_code_1(
    command: CommandLine, stub: StubEngine
) -> None:
    stub.answers["discover"] = FAILED

    outcome = command("discover")

    assert outcome.code == 1
    assert "PostgreSQL 15.4" in outcome.out
    assert "1 part failed." in outcome.out
    assert outcome.err == (
        "\nFailed: postgres on db2: Nobody listens.\n  Action: Start sshd.\n  Output:\n    a\n    b\n"
    )


SKIPPED = DiscoveryReport(
    "JOB-3",
    (
        *REPORT.results,
        PluginDiscovery("postgres", "win1", skipped="it is for UNIX hosts, and this is a WINDOWS host"),
    ),
    0.5,
)


def test_a_plugin_for_other_hosts_is_said_to_be_skipped_and_is_no_failure(
    command: CommandLine, stub: StubEngine
) -> None:
    stub.answers["discover"] = SKIPPED

    outcome = command("discover")

    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert "Skipped: postgres on win1: it is for UNIX hosts, and this is a WINDOWS host." in lines
    assert lines[-1].endswith("in 0.5 s. 1 part skipped.")


def test_json_says_why_a_part_was_skipped(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["discover"] = SKIPPED

    outcome = command("discover", "--output", "json")

    results = json.loads(outcome.out)["results"]
    assert [result["skipped"] for result in results] == [
        "",
        "",
        "it is for UNIX hosts, and this is a WINDOWS host",
    ]


def test_json_is_one_document_with_everything(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["discover"] = FAILED

    outcome = command("discover", "--output", "json")

    document = json.loads(outcome.out)
    assert outcome.code == 1
    assert outcome.err == ""
    assert document["failed"] is True
    assert document["job"] == "JOB-2"
    assert document["results"][2]["failure"]["kind"] == "ConnectionRefused"
    config = document["results"][0]["repositories"][0]["source_configs"][1]
    assert (config["name"], config["identity"], config["change"]) == ("archive", {"name": "archive"}, "gone")


Quick = Callable[[], tuple[Sequence[Path], Sequence[EnvironmentSpec]]]


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> Quick:
    """Plays the stateless discovery; returns what it was asked for."""
    asked: list[tuple[Sequence[Path], Sequence[EnvironmentSpec]]] = []

    def stand_in(plugins: Sequence[Path], hosts: Sequence[EnvironmentSpec], **_: Any) -> DiscoveryReport:
        asked.append((plugins, hosts))
        return REPORT

    monkeypatch.setattr(engine, "discover_once", stand_in)
    return lambda: asked[0]


def test_a_quick_look_opens_no_state(command: CommandLine, stub: StubEngine, quick_look: Quick) -> None:
    outcome = command(
        *("discover", "--plugin", "./mine", "--host", "anna@db1:2222", "--host", "bob@[::1]"),
        *("--key", "/k", "--host-key", "accept-new", "--jump", "me@gate"),
    )

    assert outcome.code == 0
    assert stub.opened_with == []
    plugins, hosts = quick_look()
    assert plugins == [Path("mine")]
    assert [(spec.user, spec.host, spec.port) for spec in hosts] == [
        ("anna", "db1", 2222),
        ("bob", "::1", None),
    ]
    assert {(spec.authentication.key, spec.host_key, spec.jump) for spec in hosts} == {
        ("/k", "accept-new", ("me@gate",))
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--host", "a@b"), "--host needs a plugin"),
        (("--host", "a@b", "--plugin", ".", "db1"), "'db1' is an environment"),
        (("--host", "a:b@c", "--plugin", "."), "must not be written there"),
        (("--host", "a@b:http", "--plugin", "."), "port that is not a number"),
        (("--key", "/k"), "--key belongs to --host"),
        (("--agent",), "--agent belongs to --host"),
        (("--password-from", "prompt"), "--password-from belongs to --host"),
        (("--host-key", "off"), "--host-key belongs to --host"),
        (("--jump", "x"), "--jump belongs to --host"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: tuple[str, ...], message: str, command: CommandLine, stub: StubEngine, quick_look: Quick
) -> None:
    outcome = command("discover", *words)

    assert outcome.code == 2
    assert message in outcome.err
    assert "Action:" in outcome.err
    assert stub.opened_with == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--parallel", "0"), "--parallel"),
        (("--output", "xml"), "xml"),
        (("--host-key", "never"), "never"),
        (("--colour",), "--colour"),
    ],
)
def test_values_and_options_that_do_not_exist_are_refused(
    words: tuple[str, ...], message: str, command: CommandLine
) -> None:
    outcome = command("discover", *words)

    assert outcome.code == 2
    assert message in outcome.err
