"""All defects of a plugin that `check_plugin` finds, from its files, its source and its import."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.plugins.check import PluginReport, check_plugin
from dlpx_remote.plugins.problems import PluginInvalid, Problem
from dlpx_remote.plugins.worker import Workers
from tests.unit.plugins.on_disk import CODE, write_plugin

HEAD = "from dlpx.virtualization.platform import Plugin\n\nplugin = Plugin()\n\n"
REPOSITORIES = "@plugin.discovery.repository()\ndef repositories(source_connection):\n    return []\n\n"


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers() as started:
        yield started


def errors(report: PluginReport) -> tuple[Problem, ...]:
    assert report.errors, [str(problem) for problem in report.problems]
    return report.errors


def only_error(report: PluginReport) -> Problem:
    (problem,) = errors(report)
    return problem


def test_a_good_plugin_has_no_problems(tmp_path: Path, workers: Workers) -> None:
    report = check_plugin(write_plugin(tmp_path), workers)
    assert report.problems == ()
    assert report.operations == (
        "discovery.repository",
        "discovery.source_config",
        "linked.post_snapshot",
        "virtual.configure",
        "virtual.reconfigure",
        "virtual.post_snapshot",
        "virtual.mount_specification",
    )
    assert tuple(dict.fromkeys(one.name for one in report.functions)) == report.operations
    assert report.sound_plugin().config.name == "Kettle"


def test_a_check_starts_its_own_workers_when_it_is_given_none(tmp_path: Path) -> None:
    assert check_plugin(write_plugin(tmp_path)).problems == ()


def test_the_plugins_code_never_runs_in_this_process(tmp_path: Path, workers: Workers) -> None:
    witness = tmp_path / "pid"
    code = f"import os\nopen({str(witness)!r}, 'w').write(str(os.getpid()))\n{CODE}"
    assert check_plugin(write_plugin(tmp_path / "p", code=code), workers).problems == ()
    assert int(witness.read_text()) != os.getpid()
    assert "kettle" not in sys.modules
    assert not list((tmp_path / "p").rglob("__pycache__"))


def test_missing_required_operations_are_warnings(tmp_path: Path, workers: Workers) -> None:
    report = check_plugin(write_plugin(tmp_path, code=HEAD + REPOSITORIES), workers)
    assert report.errors == ()
    assert [problem.place for problem in report.warnings] == [
        "discovery.source_config",
        "linked.post_snapshot",
        "virtual.configure",
        "virtual.reconfigure",
        "virtual.post_snapshot",
        "virtual.mount_specification",
    ]
    first = report.warnings[0]
    assert first.file == "src/kettle.py"
    assert "Environment Discovery" in first.message
    assert "@plugin.discovery.source_config()" in first.hint


# what the source says


def test_a_syntax_error_is_shown_once_with_file_and_line(tmp_path: Path, workers: Workers) -> None:
    problem = only_error(check_plugin(write_plugin(tmp_path, code=HEAD + "def broken(:\n"), workers))
    assert (problem.file, problem.line) == ("src/kettle.py", 5)
    assert "not valid Python 3" in problem.message
    assert "def broken(:" in problem.message


@pytest.mark.parametrize("code", ["print 'x'\n", "exec 'x'\n", "x = 0777\n"])
def test_python_2_code_says_that_it_must_be_carried_over(tmp_path: Path, workers: Workers, code: str) -> None:
    report = check_plugin(
        write_plugin(tmp_path, config={"language": "PYTHON27"}, code={"kettle.py": CODE, "old.py": code}),
        workers,
    )
    problem = only_error(report)
    assert (problem.file, problem.line) == ("src/old.py", 1)
    assert "Python 2" in problem.hint
    assert [warning.place for warning in report.warnings] == ["language"]


@pytest.mark.parametrize(
    "code", ["return 3\n", "def f():\n\tif 1:\n        pass\n", "x = '\0'\n", "(" * 3000, "# coding: no\n"]
)
def test_every_file_that_is_no_python_is_an_error(tmp_path: Path, workers: Workers, code: str) -> None:
    report = check_plugin(write_plugin(tmp_path, code={"kettle.py": CODE, "sub/bad.py": code}), workers)
    assert only_error(report).file == "src/sub/bad.py"


def test_generated_classes_and_hidden_directories_are_not_read(tmp_path: Path, workers: Workers) -> None:
    code = {"kettle.py": CODE, "generated/old.py": "print 'x'", ".tox/a.py": "print 'x'"}
    assert check_plugin(write_plugin(tmp_path, code=code), workers).problems == ()


@pytest.mark.parametrize(
    ("decorator", "meant"),
    [
        ("linked.presnapshot", "linked.pre_snapshot"),
        ("discovery.repositry", "discovery.repository"),
        ("discover.repository", "discovery.repository"),
        ("virtual.mountSpecification", "virtual.mount_specification"),
        ("repository", "discovery.repository"),
    ],
)
def test_an_unknown_operation_is_shown_with_the_nearest(
    tmp_path: Path, workers: Workers, decorator: str, meant: str
) -> None:
    code = HEAD + f"@plugin.{decorator}()\ndef something(source_connection):\n    pass\n"
    report = check_plugin(write_plugin(tmp_path, code=code), workers)
    problem = only_error(report)
    assert (problem.file, problem.line) == ("src/kettle.py", 5)
    assert problem.message == f"There is no plugin operation `{decorator}`."
    assert problem.hint == f"Did you mean `@plugin.{meant}()`?"
    assert meant not in [warning.place for warning in report.warnings]


def test_a_decorator_without_parentheses_is_shown_with_them(tmp_path: Path, workers: Workers) -> None:
    code = HEAD + REPOSITORIES.replace("()\n", "\n", 1)
    problem = only_error(check_plugin(write_plugin(tmp_path, code=code), workers))
    assert (problem.line, problem.place) == (5, "discovery.repository")
    assert "without parentheses" in problem.message
    assert problem.hint == "Write `@plugin.discovery.repository()`."


def test_a_decorator_with_arguments_is_an_error(tmp_path: Path, workers: Workers) -> None:
    code = HEAD + REPOSITORIES.replace("()", "('x')", 1)
    problem = only_error(check_plugin(write_plugin(tmp_path, code=code), workers))
    assert (problem.line, problem.hint) == (5, "Write `@plugin.discovery.repository()`.")


def test_wrong_argument_names_are_shown_once_with_those_expected(tmp_path: Path, workers: Workers) -> None:
    code = HEAD + REPOSITORIES.replace("source_connection", "connection")
    problem = only_error(check_plugin(write_plugin(tmp_path, code=code), workers))
    assert (problem.file, problem.line, problem.place) == ("src/kettle.py", 5, "discovery.repository")
    assert "takes the arguments (source_connection)" in problem.message
    assert "the function takes (connection)" in problem.message
    assert problem.hint == "Rename `connection` to `source_connection`."


@pytest.mark.parametrize(
    ("arguments", "good"),
    [
        ("repository, source_connection", True),
        ("source_connection, repository, more=None", True),
        ("source_connection, **others", True),
        ("*, source_connection, repository", True),
        ("source_connection", False),
        ("source_connection, repository, more", False),
        ("source_connection, repository, /", False),
        ("*everything", False),
        ("", False),
    ],
)
def test_arguments_may_stand_in_any_order_but_must_all_be_there(
    tmp_path: Path, workers: Workers, arguments: str, good: bool
) -> None:
    code = HEAD + f"@plugin.discovery.source_config()\ndef configs({arguments}):\n    return []\n"
    report = check_plugin(write_plugin(tmp_path, code=code), workers)
    assert len(report.errors) == (0 if good else 1)


@pytest.mark.parametrize("name", ["snapshot_parameters", "optional_snapshot_parameters"])
def test_arguments_have_the_names_of_every_sdk_version(tmp_path: Path, workers: Workers, name: str) -> None:
    code = HEAD + (
        "@plugin.linked.pre_snapshot()\n"
        f"def pre(direct_source, repository, source_config, {name}):\n    pass\n"
    )
    assert check_plugin(write_plugin(tmp_path, code=code), workers).errors == ()


def test_two_functions_for_one_operation_are_shown_with_both_places(tmp_path: Path, workers: Workers) -> None:
    code = HEAD + REPOSITORIES + REPOSITORIES.replace("def repositories", "def again")
    problem = only_error(check_plugin(write_plugin(tmp_path, code=code), workers))
    assert (problem.file, problem.line) == ("src/kettle.py", 9)
    assert "`again` is here, and `repositories` at src/kettle.py:5" in problem.message


def test_operations_in_other_modules_are_checked_as_well(tmp_path: Path, workers: Workers) -> None:
    code = {
        "shared.py": HEAD,
        "parts.py": "from shared import plugin\n\n" + REPOSITORIES.replace("source_connection", "host"),
        "kettle.py": "from shared import plugin\nimport parts\n",
    }
    problem = only_error(check_plugin(write_plugin(tmp_path, code=code), workers))
    assert (problem.file, problem.line) == ("src/parts.py", 3)


def test_an_operation_of_the_other_plugin_type_is_a_warning(tmp_path: Path, workers: Workers) -> None:
    code = HEAD + ("@plugin.linked.worker()\ndef work(staged_source, repository, source_config):\n    pass\n")
    report = check_plugin(write_plugin(tmp_path, code=code), workers)
    assert report.errors == ()
    (problem,) = [warning for warning in report.warnings if "missing" not in warning.message]
    assert (problem.line, problem.place) == (5, "linked.worker")
    assert "only for plugins of type STAGED" in problem.message


MIGRATION = "@plugin.upgrade.{kind}({argument})\ndef {name}(old):\n    return old\n\n"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ('"1.a"', "does not follow the correct format"),
        ('"0.0"', "0 migration id is not allowed"),
        ("7", "A migration id is a string, but found 7"),
        ("", "A migration needs an id"),
    ],
)
def test_a_bad_migration_id_is_an_error(
    tmp_path: Path, workers: Workers, argument: str, message: str
) -> None:
    code = HEAD + MIGRATION.format(kind="repository", argument=argument, name="migrate")
    problem = only_error(check_plugin(write_plugin(tmp_path, code=code), workers))
    assert (problem.line, problem.place) == (5, "upgrade.repository")
    assert message in problem.message


def test_a_migration_id_used_twice_is_shown_with_both_places(tmp_path: Path, workers: Workers) -> None:
    code = (
        HEAD
        + MIGRATION.format(kind="repository", argument='"1.2"', name="first")
        + MIGRATION.format(kind="snapshot", argument='"1.02.0"', name="second")
    )
    problem = only_error(check_plugin(write_plugin(tmp_path, code=code), workers))
    assert (problem.line, problem.place) == (9, "upgrade.snapshot")
    assert "'second'" in problem.message
    assert "'first'" in problem.message
    assert "src/kettle.py:5" in problem.message


def test_a_function_behind_a_decorator_of_the_plugins_own_is_left_to_the_import(
    tmp_path: Path, workers: Workers
) -> None:
    code = (
        HEAD
        + "def connected(function):\n    def inner(source_connection):\n        return function(1, 2)\n"
        + "    return inner\n\n"
        + "@plugin.discovery.repository()\n@connected\ndef repositories(host, user):\n    return []\n"
    )
    assert check_plugin(write_plugin(tmp_path, code=code), workers).errors == ()


def test_arguments_that_only_the_import_can_know_are_checked_by_it(tmp_path: Path, workers: Workers) -> None:
    code = HEAD + ("def made(host):\n    return []\n\nrepositories = plugin.discovery.repository()(made)\n")
    problem = only_error(check_plugin(write_plugin(tmp_path, code=code), workers))
    assert (problem.file, problem.line) == ("src/kettle.py", 5)
    assert "source_connection" in problem.message


# what the import says


def test_an_entry_point_that_does_not_import_is_shown_with_the_plugins_own_traceback(
    tmp_path: Path, workers: Workers
) -> None:
    code = HEAD + "def start():\n    raise RuntimeError('no kettle here')\n\nstart()\n"
    report = check_plugin(write_plugin(tmp_path, code=code), workers)
    problem = only_error(report)
    assert (problem.file, problem.line) == ("src/kettle.py", 6)
    assert "RuntimeError: no kettle here" in problem.message
    assert f'File "{tmp_path}/src/kettle.py", line 8' in report.import_trace
    assert report.import_trace.strip() in problem.hint


def test_a_module_that_is_not_there_is_named(tmp_path: Path, workers: Workers) -> None:
    problem = only_error(check_plugin(write_plugin(tmp_path, code="import teapot\n" + CODE), workers))
    assert (problem.file, problem.line) == ("src/kettle.py", 1)
    assert "No module named 'teapot'" in problem.message


def test_an_entry_object_that_is_not_there_is_shown_once_with_the_nearest(
    tmp_path: Path, workers: Workers
) -> None:
    report = check_plugin(write_plugin(tmp_path, config={"entryPoint": "kettle:plugn"}), workers)
    problem = only_error(report)
    assert (problem.file, problem.place) == ("src/kettle.py", "entryPoint")
    assert "names the object `plugn`" in problem.message
    assert problem.hint == "Did you mean `plugin`?"


def test_an_entry_object_that_is_no_plugin_says_what_it_is(tmp_path: Path, workers: Workers) -> None:
    problem = only_error(check_plugin(write_plugin(tmp_path, code="plugin = 3\n"), workers))
    assert problem.file == "src/kettle.py"
    assert "an int" in problem.message


@pytest.mark.parametrize("code", ["import os\nos._exit(3)\n", "import sys\nsys.exit('bye')\n"])
def test_code_that_ends_its_process_on_import_is_an_error(
    tmp_path: Path, workers: Workers, code: str
) -> None:
    problem = only_error(check_plugin(write_plugin(tmp_path, code=HEAD + code), workers))
    assert "entryPoint" in problem.place
    assert check_plugin(write_plugin(tmp_path / "good"), workers).problems == ()


# all at once


def test_everything_wrong_is_reported_at_once_and_each_thing_once(tmp_path: Path, workers: Workers) -> None:
    code = {
        "kettle.py": HEAD
        + REPOSITORIES.replace("source_connection", "host")
        + REPOSITORIES.replace("def repositories", "def again")
        + REPOSITORIES.replace("discovery.repository", "linked.presnapshot"),
        "old.py": "print 'x'\n",
    }
    schema = {"snapshotDefinition": {"type": "obj"}}
    report = check_plugin(
        write_plugin(tmp_path, config={"name": 3, "colour": "blue"}, schema=schema, code=code), workers
    )
    found = [(problem.file, problem.place) for problem in errors(report)]
    assert len(set(found)) == len(found) - 1
    assert sorted(found) == [
        ("plugin_config.yml", "colour"),
        ("plugin_config.yml", "name"),
        ("schema.json", "/snapshotDefinition/type"),
        ("src/kettle.py", "discovery.repository"),
        ("src/kettle.py", "discovery.repository"),
        ("src/kettle.py", "linked.presnapshot"),
        ("src/old.py", ""),
    ]
    with pytest.raises(PluginInvalid, match="7 errors"):
        report.sound_plugin()


def test_source_and_import_report_one_defect_once(tmp_path: Path, workers: Workers) -> None:
    code = {
        "kettle.py": HEAD
        + REPOSITORIES.replace("source_connection", "host")
        + "import old\n"
        + REPOSITORIES.replace("discovery.repository", "linked.presnapshot"),
        "old.py": "print 'x'\n",
    }
    report = check_plugin(write_plugin(tmp_path, code=code), workers)
    assert [(problem.file, problem.line) for problem in errors(report)] == [
        ("src/kettle.py", 5),
        ("src/kettle.py", 10),
        ("src/old.py", 1),
    ]


def test_a_directory_that_is_not_there_is_one_problem(tmp_path: Path, workers: Workers) -> None:
    report = check_plugin(tmp_path / "nowhere", workers)
    assert only_error(report).message == "The directory does not exist."
    assert report.warnings == ()
