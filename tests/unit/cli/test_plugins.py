"""``plugin`` and ``source-config``: on real plugins on disk and the real engine, without a host."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from dlpx_remote.engine import PluginDiscovery
from tests.unit.cli.conftest import CommandLine, StubEngine, discovered, repository
from tests.unit.cli.test_documents import write_documented_plugin


@pytest.fixture
def plugin(files: Path) -> Path:
    """The plugin of the documentation."""
    return write_documented_plugin(files / "sqlite")


@pytest.fixture
def broken(plugin: Path) -> Path:
    """The same with three mistakes in two files."""
    config = plugin / "plugin_config.yml"
    config.write_text(config.read_text().replace("hostTypes", "hostType").replace("DIRECT", "INDIRECT"))
    code = plugin / "src" / "sqlite_plugin.py"
    code.write_text(code.read_text().replace("def find_databases(source_connection, repository)", "def f(x)"))
    return plugin


def test_a_good_plugin_can_be_added_and_what_is_missing_is_a_warning(
    command: CommandLine, plugin: Path
) -> None:
    outcome = command("plugin", "check", str(plugin))

    assert outcome.code == 0
    assert "warning: linked.post_snapshot:" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("Plugin sqlite can be added: 2 operations and ")


def test_every_problem_is_said_with_its_place_and_a_hint(command: CommandLine, broken: Path) -> None:
    outcome = command("plugin", "check", str(broken))

    assert outcome.code == 1
    assert "plugin_config.yml:5: error: hostType:" in outcome.out
    assert "Did you mean `hostTypes`?" in outcome.out
    assert "plugin_config.yml:6: error: pluginType:" in outcome.out
    assert "source_connection" in outcome.out
    assert "errors" in outcome.out.splitlines()[-1]


def test_the_check_is_json_when_asked_for(command: CommandLine, broken: Path) -> None:
    outcome = command("plugin", "check", str(broken), "--output", "json")

    document = json.loads(outcome.out)
    assert outcome.code == 1
    assert document["valid"] is False
    assert {"severity", "file", "line", "place", "message", "hint"} == set(document["problems"][0])


def test_a_directory_that_does_not_exist_is_a_problem_of_its_own(command: CommandLine, files: Path) -> None:
    outcome = command("plugin", "check", str(files / "nowhere"))

    assert outcome.code == 1
    assert "The directory does not exist." in outcome.out


def test_a_plugin_is_added_listed_and_shown(command: CommandLine, plugin: Path) -> None:
    added = command("plugin", "add", str(plugin))
    again = command("plugin", "add", str(plugin))
    listed = command("plugin", "list")
    shutil.rmtree(plugin)
    shown = command("plugin", "show", "sqlite")

    assert added.out.startswith("Added plugin sqlite, build 1.0 (9a4c1b02-6f0c-4c8e-8d53-3a6d4f0f7c11).")
    assert "dlpx-remote plugin show sqlite" in added.out
    assert again.out.startswith("Already there: plugin sqlite")
    assert "sqlite   DIRECT   UNIX" in listed.out
    assert "discovery.repository          src/sqlite_plugin.py:12" in shown.out
    assert "linked.post_snapshot          no" in shown.out
    assert {added.code, again.code, listed.code, shown.code} == {0}


def test_a_broken_plugin_is_not_added(command: CommandLine, broken: Path) -> None:
    outcome = command("plugin", "add", str(broken))

    assert outcome.code == 1
    assert "Did you mean `hostTypes`?" in outcome.out
    assert f"Not added: {broken} has" in outcome.err
    assert command("plugin", "list").out.startswith("No plugin yet.")


def test_an_unknown_plugin_is_refused_with_the_nearest_known_one(command: CommandLine, plugin: Path) -> None:
    command("plugin", "add", str(plugin))

    outcome = command("plugin", "show", "sqlight")

    assert outcome.code == 2
    assert "sqlite" in outcome.err


def test_what_is_known_is_listed_without_asking_a_host(command: CommandLine, stub: StubEngine) -> None:
    stub.answers["discovered"] = [
        PluginDiscovery("postgres", "db1", (repository("PostgreSQL 15", [discovered("main", "gone")]),))
    ]

    outcome = command("source-config", "list", "db1", "--plugin", "postgres")

    assert outcome.code == 0
    assert stub.called("discovered")[0] == ("db1", "postgres")
    assert outcome.out.splitlines()[-1].split() == ["main", "gone"]


def test_nothing_known_says_how_to_find_out(command: CommandLine) -> None:
    assert "dlpx-remote discover" in command("source-config", "list").out


ADD = ("source-config", "add", "db1", "--plugin", "p", "--repository", "r", "--parameters")


def test_a_source_config_is_given_as_json_in_a_word_a_file_or_on_stdin(
    command: CommandLine, stub: StubEngine, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.answers["add_source_config"] = discovered("orders")
    file = files / "orders.json"
    file.write_text('{"name": "from a file"}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"name": "from stdin"}'))

    outcome = command(*ADD, '{"name": "in a word"}')
    command(*ADD, f"@{file}")
    command(*ADD, "-")

    assert outcome.out.startswith("Added source config orders")
    assert [arguments for name, arguments, _ in stub.calls if name == "add_source_config"] == [
        ("db1", "p", "r", {"name": "in a word"}),
        ("db1", "p", "r", {"name": "from a file"}),
        ("db1", "p", "r", {"name": "from stdin"}),
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("{name: 1}", "--parameters is not JSON"),
        ("[1]", "--parameters is JSON, but no object."),
        ("@/nowhere/orders.json", "/nowhere/orders.json cannot be read"),
    ],
)
def test_parameters_that_are_no_json_object_are_refused(
    parameters: str, message: str, command: CommandLine, stub: StubEngine
) -> None:
    outcome = command(*ADD, parameters)

    assert outcome.code == 2
    assert message in outcome.err
    assert '{"name": "orders"' in outcome.err
    assert stub.calls == []


def test_a_plugin_is_built_into_one_file_that_can_be_checked_and_added(
    command: CommandLine, plugin: Path, files: Path
) -> None:
    built = command("plugin", "build", str(plugin), "--file", str(files))
    package = files / "sqlite-1.0.dlpx.zip"

    assert built.code == 0
    assert built.out.startswith(f"Built {package}: 3 files, {package.stat().st_size} bytes.")
    assert command("plugin", "check", str(package)).code == 0
    assert command("plugin", "add", str(package)).out.startswith("Added plugin sqlite, build 1.0 ")
    assert command("plugin", "add", str(plugin)).out.startswith("Already there: plugin sqlite")


def test_a_broken_plugin_is_not_built(command: CommandLine, broken: Path, files: Path) -> None:
    outcome = command("plugin", "build", str(broken), "--file", str(files))

    assert outcome.code == 1
    assert "Did you mean `hostTypes`?" in outcome.out
    assert "Not built" in outcome.err
    assert not list(files.glob("*.zip"))


def test_a_file_that_is_no_plugin_is_refused_with_what_to_do(command: CommandLine, files: Path) -> None:
    (files / "notes.txt").write_text("no plugin")

    outcome = command("plugin", "add", str(files / "notes.txt"))

    assert outcome.code != 0
    assert "is no packaged plugin" in outcome.err
    assert "plugin build" in outcome.err


def test_stubs_are_written_beside_the_code(command: CommandLine, plugin: Path) -> None:
    outcome = command("plugin", "stubs", str(plugin))

    stub = plugin / "src" / "generated" / "definitions.pyi"
    assert outcome.code == 0
    assert f"Wrote {stub}" in outcome.out
    assert "class RepositoryDefinition:" in stub.read_text()


def test_without_a_good_schema_there_are_no_stubs(command: CommandLine, plugin: Path) -> None:
    (plugin / "schema.json").write_text("{")

    outcome = command("plugin", "stubs", str(plugin))

    assert outcome.code == 1
    assert "schema.json" in outcome.out
    assert "No stubs written" in outcome.err
