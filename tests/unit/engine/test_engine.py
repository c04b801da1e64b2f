"""The Python API with real parts, as far as that needs no host."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dlpx_remote.engine import (
    AlreadyExists,
    Authentication,
    Engine,
    EnvironmentSpec,
    HostType,
    InvalidRequest,
    NotFound,
    PluginInvalid,
    RemoteError,
    SecretReference,
    WindowsAccess,
    check_plugin,
    discover_once,
    parse_secret_reference,
)
from dlpx_remote.redaction import MASK, REDACTOR, redact
from dlpx_remote.store import StateError
from dlpx_remote.workflows.plugins import build_order
from tests.hosts.engine_plugin import CODE, write_plugin
from tests.secret_scan import secret


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def engine(state: Path) -> Iterator[Engine]:
    with Engine(state) as engine:
        yield engine


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return write_plugin(tmp_path / "plugin", tmp_path)


# the state


def test_the_state_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLPX_REMOTE_STATE", str(tmp_path / "elsewhere"))
    with Engine():
        pass
    assert (tmp_path / "elsewhere" / "state.db").exists()


def test_without_the_variable_the_state_is_in_the_users_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DLPX_REMOTE_STATE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with Engine():
        pass
    assert (tmp_path / "data" / "dlpx-remote" / "state.db").exists()


def test_a_log_that_cannot_be_written_is_told(state: Path) -> None:
    Engine(state).close()
    (state / "log").rmdir()
    (state / "log").write_text("in the way")
    with pytest.raises(RemoteError, match=r"log directory .* cannot be used: File exists"):
        Engine(state)


def test_a_secret_is_read_from_where_its_reference_says_and_redacted_from_then_on(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = secret("a script's variable")
    monkeypatch.setenv("FROM_HERE", value)
    with Engine(state) as engine:
        assert engine.secret(parse_secret_reference("env:FROM_HERE"), "value of A") == value
        assert redact(f"said {value}") == f"said {MASK}"
        with pytest.raises(RemoteError, match="The value of B should be in the variable NOT_SET") as caught:
            engine.secret(parse_secret_reference("env:NOT_SET"), "value of B")
    assert "export NOT_SET" in caught.value.action


def test_closing_twice_is_once(state: Path) -> None:
    engine = Engine(state)
    engine.close()
    engine.close()


def test_an_engine_that_cannot_open_its_state_leaves_no_log_behind(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StateError):
        Engine(tmp_path / "state")


def test_the_log_is_private_and_knows_no_secret(state: Path) -> None:
    REDACTOR.register("sesame-for-the-log")
    with Engine(state) as engine:
        engine.add_environment(EnvironmentSpec("db1", "localhost", user="anna"))
        logger = logging.getLogger("dlpx_remote.test")
        logger.info("it is %s", "sesame-for-the-log")
        logger.debug("a command's text")
        try:
            raise ValueError("sesame-for-the-log")
        except ValueError:
            logger.exception("failed")
    logger.info("after closing")
    file = state / "log" / "engine.log"
    text = file.read_text()
    assert f"it is {MASK}" in text
    assert f"ValueError: {MASK}" in text
    assert "sesame-for-the-log" not in text
    assert "a command's text" not in text
    assert "after closing" not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


# environments


def test_environments_are_added_listed_found_and_removed(engine: Engine) -> None:
    added = engine.add_environment(EnvironmentSpec("db1", "localhost", user="anna"))
    assert engine.environments() == [added]
    assert engine.environment("db1") == engine.environment("UNIX_HOST_ENVIRONMENT-1") == added
    engine.add_user("db1", "bob", Authentication())
    assert engine.set_primary_user("db1", "bob").primary_user.name == "bob"
    assert [user.name for user in engine.remove_user("db1", "anna").users] == ["bob"]
    removed = engine.remove_environment("db1")
    assert (removed.environment.name, removed.directory, removed.cleaned, removed.detail) == (
        "db1",
        "",
        True,
        "",
    )
    assert engine.environments() == []


def test_two_engines_share_a_state(engine: Engine, state: Path) -> None:
    with Engine(state) as other:
        other.add_environment(EnvironmentSpec("db1", "localhost", user="anna"))
    assert [environment.name for environment in engine.environments()] == ["db1"]


WINDOWS = EnvironmentSpec(
    "win",
    "127.0.0.1",
    user="anna",
    port=1,
    host_type=HostType.WINDOWS,
    authentication=Authentication(password_from=SecretReference("env", "WINDOWS_PASSWORD")),
)


def test_how_a_windows_host_is_reached_is_kept(engine: Engine, state: Path) -> None:
    access = WindowsAccess("http", "basic", unencrypted=True)
    assert engine.add_environment(replace(WINDOWS, windows=access)).windows == access
    assert engine.add_environment(replace(WINDOWS, name="other")).windows == WindowsAccess()
    with Engine(state) as other:
        assert other.environment("win").windows == access


def test_a_windows_host_that_is_down_is_told_of(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDOWS_PASSWORD", secret("password of a Windows user"))
    engine.add_environment(WINDOWS)
    with pytest.raises(RemoteError, match="port 1 refuses connections"):
        engine.run("win", "Get-Date")
    steps = engine.test_environment("win")
    assert [step.name for step in steps if step.outcome == "failed"] == ["port answers"]
    assert [step.outcome for step in steps][2:] == ["skipped"] * 4


def test_a_windows_environment_fails_its_part_of_a_discovery(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDOWS_PASSWORD", secret("password of a Windows user"))
    engine.add_environment(WINDOWS)
    engine.add_plugin(write_plugin(tmp_path / "windows", tmp_path, host_type="WINDOWS"))
    (result,) = engine.discover().results
    assert result.failure is not None
    assert result.failure.kind == "ConnectionRefused"


# plugins


def test_a_plugin_is_checked_copied_and_recorded(engine: Engine, state: Path, plugin: Path) -> None:
    details = engine.add_plugin(plugin)
    assert details.changed == "new"
    assert details.summary.name == "finder"
    assert details.summary.directory.is_relative_to(state / "plugins")
    assert (details.summary.directory / "src" / "finder.py").exists()
    assert engine.plugins() == [details.summary]
    shown = engine.plugin("finder")
    assert shown.summary == details.summary
    assert shown.operations == details.operations
    by_name = {operation.name: operation for operation in shown.operations}
    assert by_name["discovery.repository"].implemented
    assert by_name["discovery.repository"].file == "src/finder.py"
    assert by_name["discovery.repository"].line
    assert not by_name["virtual.configure"].implemented
    assert "virtual.configure" in [operation.name for operation in shown.missing]
    assert any("virtual.configure" in warning.message for warning in shown.warnings)
    assert shown.warnings == details.warnings
    assert {warning.file for warning in shown.warnings} == {"src/finder.py"}


def test_adding_the_same_build_again_changes_nothing(engine: Engine, plugin: Path) -> None:
    first = engine.add_plugin(plugin)
    again = engine.add_plugin(plugin)
    assert again.changed == "unchanged"
    assert engine.plugins() == [first.summary]


def test_the_same_build_with_other_content_is_refused(engine: Engine, plugin: Path) -> None:
    engine.add_plugin(plugin)
    (plugin / "src" / "finder.py").write_text(CODE + "\n# changed\n")
    with pytest.raises(AlreadyExists, match="with other content") as caught:
        engine.add_plugin(plugin)
    assert "buildNumber" in caught.value.action


def test_a_higher_build_takes_the_place_of_a_lower_one(engine: Engine, tmp_path: Path) -> None:
    engine.add_plugin(write_plugin(tmp_path / "9", tmp_path, build="1.9"))
    details = engine.add_plugin(write_plugin(tmp_path / "10", tmp_path, build="1.10"))
    assert details.changed == "upgraded"
    assert [summary.build_number for summary in engine.plugins()] == ["1.10"]
    assert engine.plugin("finder").summary.directory.name.endswith("1.10")


@pytest.mark.parametrize(("build", "relation"), [("1.9", "a lower one"), ("1.10.0", "the same number")])
def test_a_lower_build_is_refused_with_what_to_do(
    engine: Engine, state: Path, tmp_path: Path, build: str, relation: str
) -> None:
    engine.add_plugin(write_plugin(tmp_path / "new", tmp_path, build="1.10"))
    with pytest.raises(InvalidRequest, match=relation) as caught:
        engine.add_plugin(write_plugin(tmp_path / "old", tmp_path, build=build))
    assert "above 1.10" in caught.value.action
    assert [summary.build_number for summary in engine.plugins()] == ["1.10"]
    assert len(list((state / "plugins").iterdir())) == 1  # no copy is left behind


def test_another_plugin_of_the_same_name_is_refused(engine: Engine, plugin: Path, tmp_path: Path) -> None:
    engine.add_plugin(plugin)
    other = write_plugin(tmp_path / "other", tmp_path, identifier="b6f5a1f0-5b6f-4a54-9d64-7a4f3f5c7a11")
    with pytest.raises(AlreadyExists, match="Another plugin named 'finder'") as caught:
        engine.add_plugin(other)
    assert "another name" in caught.value.action


def test_a_broken_plugin_is_refused_with_every_problem_and_nothing_left(
    engine: Engine, state: Path, plugin: Path
) -> None:
    (plugin / "schema.json").write_text("{")
    config = plugin / "plugin_config.yml"
    config.write_text(config.read_text() + "buildNr: 7\n")
    with pytest.raises(PluginInvalid) as caught:
        engine.add_plugin(plugin)
    files = {problem.file for problem in caught.value.problems}
    assert {"schema.json", "plugin_config.yml"} <= files
    assert engine.plugins() == []
    assert not (state / "plugins").exists()


def test_an_unknown_plugin_is_answered_with_the_nearest(engine: Engine, plugin: Path) -> None:
    with pytest.raises(NotFound) as caught:
        engine.plugin("finder")
    assert "dlpx-remote plugin add" in caught.value.action
    engine.add_plugin(plugin)
    with pytest.raises(NotFound) as caught:
        engine.plugin("findr")
    assert "'finder'" in caught.value.action


def test_checking_needs_no_state(plugin: Path) -> None:
    found = check_plugin(plugin)
    assert found.valid
    assert found.details is not None
    assert found.details.summary.added is None
    assert all(problem.severity == "warning" for problem in found.problems)


def test_checking_a_broken_plugin_reports_and_does_not_raise(plugin: Path, tmp_path: Path) -> None:
    (plugin / "src" / "finder.py").write_text("import nothing_of_that_name\n")
    found = check_plugin(plugin)
    assert not found.valid
    assert any("nothing_of_that_name" in problem.message for problem in found.problems)
    assert not check_plugin(tmp_path / "none").valid


def test_build_numbers_are_compared_by_their_parts() -> None:
    assert build_order("1.10") > build_order("1.9.9") > build_order("1.9") == build_order("1.9.0.0")


# discovery, as far as it needs no host


def test_there_must_be_something_to_discover(engine: Engine, plugin: Path) -> None:
    with pytest.raises(InvalidRequest, match="No environment has been added") as caught:
        engine.discover()
    assert "dlpx-remote env add" in caught.value.action
    engine.add_environment(EnvironmentSpec("db1", "localhost", user="anna"))
    with pytest.raises(InvalidRequest, match="No plugin has been added") as caught:
        engine.discover()
    assert "dlpx-remote plugin add" in caught.value.action
    engine.add_plugin(plugin)
    with pytest.raises(NotFound):
        engine.discover(["db2"])
    with pytest.raises(NotFound):
        engine.discover(["db1"], ["postgres"])


def test_a_plugin_whose_copy_was_damaged_fails_its_part(engine: Engine, plugin: Path) -> None:
    engine.add_environment(EnvironmentSpec("db1", "localhost", user="anna", port=1))
    details = engine.add_plugin(plugin)
    (details.summary.directory / "schema.json").write_text("{")
    report = engine.discover()
    assert report.failed
    shown = engine.plugin("finder")
    assert any(problem.file == "schema.json" and problem.severity == "error" for problem in shown.warnings)


def test_what_was_discovered_is_known_without_asking_the_host(engine: Engine, plugin: Path) -> None:
    engine.add_environment(EnvironmentSpec("db1", "localhost", user="anna"))
    assert engine.discovered("db1") == []
    engine.add_plugin(plugin)
    (known,) = engine.discovered("db1", "finder")
    assert (known.plugin, known.environment, known.repositories) == ("finder", "db1", ())


def test_manual_source_configs_are_checked(engine: Engine, plugin: Path, tmp_path: Path) -> None:
    engine.add_environment(EnvironmentSpec("db1", "localhost", user="anna"))
    engine.add_plugin(plugin)
    with pytest.raises(InvalidRequest, match="does not fit the schema of the plugin finder") as caught:
        engine.add_source_config("db1", "finder", "/a", {"name": "x", "blocks": -1, "more": 1})
    assert "blocks" in caught.value.message
    assert "more" in caught.value.message
    with pytest.raises(InvalidRequest, match="not plain JSON"):
        engine.add_source_config("db1", "finder", "/a", {"name": {1, 2}})
    with pytest.raises(NotFound, match="no repository on db1 named '/a'"):
        engine.add_source_config("db1", "finder", "/a", {"name": "x", "blocks": 1})
    closed = write_plugin(
        tmp_path / "closed",
        tmp_path,
        name="closed",
        manual=False,
        identifier="b6f5a1f0-5b6f-4a54-9d64-7a4f3f5c7a11",
    )
    engine.add_plugin(closed)
    with pytest.raises(InvalidRequest, match="does not allow source configs to be added by hand") as caught:
        engine.add_source_config("db1", "closed", "/a", {"name": "x", "blocks": 1})
    assert "manualDiscovery" in caught.value.action


def test_a_secret_in_a_manual_source_config_is_refused(engine: Engine, plugin: Path) -> None:
    schema = json.loads((plugin / "schema.json").read_text())
    schema["sourceConfigDefinition"]["properties"]["pass"] = {"type": "string", "format": "password"}
    (plugin / "schema.json").write_text(json.dumps(schema))
    engine.add_environment(EnvironmentSpec("db1", "localhost", user="anna"))
    engine.add_plugin(plugin)
    with pytest.raises(InvalidRequest, match="holds a secret") as caught:
        engine.add_source_config("db1", "finder", "/a", {"name": "x", "blocks": 1, "pass": "sesame-by-hand"})
    assert "sesame-by-hand" not in str(caught.value)


def test_a_quick_look_needs_plugins_and_hosts(plugin: Path) -> None:
    with pytest.raises(InvalidRequest, match="no plugin"):
        discover_once([], [EnvironmentSpec("h", "localhost")])
    with pytest.raises(InvalidRequest, match="no host"):
        discover_once([plugin], [])
    with pytest.raises(PluginInvalid):
        discover_once([plugin / "src"], [EnvironmentSpec("h", "localhost")])


def test_a_quick_look_reports_hosts_that_cannot_be_reached(plugin: Path, tmp_path: Path) -> None:
    missing = Authentication(key=str(tmp_path / "no-such-key"))
    hosts = [
        EnvironmentSpec("127.0.0.1", "127.0.0.1", user="anna", port=1, authentication=missing),
        EnvironmentSpec("127.0.0.1", "127.0.0.1", user="anna", port=2),
        EnvironmentSpec(
            "::1",
            "::1",
            user="bob",
            port=1,
            authentication=Authentication(password_from=SecretReference("env", "X")),
        ),
    ]
    report = discover_once([plugin], hosts)
    assert [result.environment for result in report.results] == [
        "anna@127.0.0.1:1",
        "anna@127.0.0.1:2",
        "::1",
    ]
    assert all(result.failure for result in report.results)
