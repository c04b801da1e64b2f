"""Plugin operations as the table says: arguments, defaults, and the checks of what comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dlpx.virtualization.platform.operation_table import PluginType
from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.operations import Dispatcher, LibraryCalls
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.plugins.problems import PluginInvalid
from dlpx_remote.plugins.worker import (
    Limits,
    OperationMissing,
    OperationTimeout,
    PluginFailed,
    WorkerDied,
    Workers,
    WrongResult,
)
from dlpx_remote.transports.base import Connection
from dlpx_remote.transports.privilege import Privilege
from tests.unit.plugins.worker.support import CONNECTION, ENVIRONMENT, HEAD, OBJECT, discovering, make_plugin

MOUNT = {"environment": ENVIRONMENT, "mount_path": "/mnt", "shared_path": None}
SOURCES: dict[str, Any] = {
    "direct_source": {"guid": "d", "connection": CONNECTION, "parameters": {"text": "t"}},
    "staged_source": {
        "guid": "s",
        "source_connection": CONNECTION,
        "staged_connection": CONNECTION,
        "parameters": {"text": "t"},
        "mount": MOUNT,
    },
    "virtual_source": {"guid": "v", "connection": CONNECTION, "parameters": {"text": "t"}, "mounts": [MOUNT]},
}
REPOSITORY = {"name": "r"}
LINKED = {"direct_source": SOURCES["direct_source"], "repository": REPOSITORY, "source_config": {"name": "c"}}


class NoHosts:
    def connection(self, environment_reference: str, user_reference: str) -> Connection:
        raise AssertionError("This test expects no connection.")

    def privilege(self, environment_reference: str, user_reference: str) -> Privilege:
        raise AssertionError("This test expects no connection.")


def dispatcher(workers: Workers, plugin: Plugin, limits: Limits | None = None) -> Dispatcher:
    return Dispatcher(workers, plugin, LibraryCalls(NoHosts()), job="job", limits=limits or Limits())


def run(workers: Workers, plugin: Plugin, operation: str, **arguments: Any) -> Any:
    with dispatcher(workers, plugin) as made:
        return made.run(operation, **arguments)


def implementing(directory: Path, operation: str, signature: str, result: str, **options: Any) -> Plugin:
    return make_plugin(
        directory, HEAD + f"@plugin.{operation}()\ndef f({signature}):\n    return {result}\n", **options
    )


@pytest.mark.parametrize(
    ("signature", "result", "expected"),
    [
        ("direct_source, repository, source_config", "'{}'", ""),
        ("source_config, direct_source, repository", "repository.name", "r"),
        ("repository, direct_source, source_config, snapshot_parameters", "str(snapshot_parameters)", "None"),
        ("source_config, direct_source, repository, optional_snapshot_parameters", "repository.name", "r"),
        (
            "direct_source, *, repository, source_config, more=5",
            "direct_source.parameters.text + str(more)",
            "t5",
        ),
        (
            "**everything",
            "','.join(sorted(everything))",
            "direct_source,repository,snapshot_parameters,source_config",
        ),
        ("repository, **rest", "repository.name + str(len(rest))", "r3"),
        ("*nothing, repository, direct_source, source_config", "str(nothing)", "()"),
    ],
)
def test_arguments_go_by_name_in_any_order_under_any_known_name(
    workers: Workers, tmp_path: Path, signature: str, result: str, expected: str
) -> None:
    plugin = implementing(tmp_path, "linked.post_snapshot", signature, f"SnapshotDefinition(text={result})")
    found = run(workers, plugin, "linked.post_snapshot", **LINKED)
    assert found == {"text": expected if expected else "{}"}


def test_snapshot_parameters_are_the_operators_input_or_none(workers: Workers, tmp_path: Path) -> None:
    plugin = implementing(
        tmp_path,
        "linked.post_snapshot",
        "direct_source, repository, source_config, optional_snapshot_parameters",
        "SnapshotDefinition(text=str(optional_snapshot_parameters and optional_snapshot_parameters.resync))",
    )
    with dispatcher(workers, plugin) as made:
        assert made.run("linked.post_snapshot", **LINKED, snapshot_parameters={"resync": True}) == {
            "text": "True"
        }
        assert made.run("linked.post_snapshot", **LINKED, snapshot_parameters=None) == {"text": "None"}
        with pytest.raises(
            InvalidRequest, match=r"snapshot_parameters given to linked\.post_snapshot.*resync"
        ):
            made.run("linked.post_snapshot", **LINKED, snapshot_parameters={"resync": "yes"})


@pytest.mark.parametrize(
    ("operation", "signature", "complaint", "hint"),
    [
        (
            "discovery.repository",
            "connection",
            "takes the arguments (source_connection)",
            "source_connection",
        ),
        ("discovery.repository", "", "but the function takes ()", "names must match"),
        (
            "discovery.repository",
            "source_connection, extra",
            "takes (source_connection, extra)",
            "names must match",
        ),
        ("discovery.repository", "source_connection, /", "takes (source_connection)", "names must match"),
        ("discovery.repository", "*args", "takes (*args)", "names must match"),
        (
            "linked.pre_snapshot",
            "direct_sorce, repository, source_config",
            "(direct_source, repository, source_config, [snapshot_parameters])",
            "Rename direct_sorce to direct_source.",
        ),
        (
            "linked.pre_snapshot",
            "direct_source, repository, source_config, snapshot_parameters, optional_snapshot_parameters",
            "optional_snapshot_parameters)",
            "names must match",
        ),
    ],
)
def test_a_function_whose_parameters_do_not_match_is_refused_with_both_lists_of_names(
    workers: Workers, tmp_path: Path, operation: str, signature: str, complaint: str, hint: str
) -> None:
    plugin = implementing(tmp_path, operation, signature, "[]")
    with dispatcher(workers, plugin) as made:
        (problem,) = made.inspect().errors
        assert complaint in problem.message
        assert hint in problem.hint
        assert (problem.file, problem.line, problem.place) == ("main.py", 5, "f")
        with pytest.raises(PluginInvalid, match=re.escape(complaint)):
            made.run("discovery.repository", source_connection=CONNECTION)


def test_inspection_tells_where_each_operation_is(workers: Workers, tmp_path: Path) -> None:
    code = (
        "import functools\n" + HEAD + "def wrapped(function):\n"
        "    @functools.wraps(function)\n"
        "    def inner(*args, **kwargs):\n"
        "        return function(*args, **kwargs)\n"
        "    return inner\n"
        "@plugin.virtual.start()\n"
        "@wrapped\n"
        "def start(source_config, repository, virtual_source):\n"
        "    pass\n"
        "@plugin.linked.worker()\n"
        "def work(staged_source, repository, source_config): pass\n"
        '@plugin.upgrade.snapshot("2.1.0")\n'
        "def second(anything): return anything\n"
        '@plugin.upgrade.snapshot("1.10")\n'
        "def first(old_snapshot): return old_snapshot\n"
    )
    with dispatcher(
        workers, make_plugin(tmp_path, {"main.py": "from code_ import plugin", "code_.py": code})
    ) as made:
        inspection = made.inspect()
        assert made.implements("virtual.start")
        assert not made.implements("virtual.stop")
    found = [
        (one.name, one.file, one.line, one.parameters, one.migration_id) for one in inspection.operations
    ]
    assert found == [
        ("virtual.start", "code_.py", 11, ("source_config", "repository", "virtual_source"), None),
        ("linked.worker", "code_.py", 15, ("staged_source", "repository", "source_config"), None),
        ("upgrade.snapshot", "code_.py", 19, ("old_snapshot",), "1.10"),
        ("upgrade.snapshot", "code_.py", 17, ("anything",), "2.1"),
    ]
    (warning,) = inspection.problems
    assert warning.severity == "warning"
    assert warning.message == "linked.worker is never called: it does not exist for DIRECT plugins."


@pytest.mark.parametrize(
    ("files", "entry_point", "message", "place"),
    [
        ({"main.py": "import nowhere_to_be_found"}, "main:plugin", "ModuleNotFoundError", ("main.py", 1)),
        ({"main.py": "\n\nx = = 1"}, "main:plugin", "SyntaxError: invalid syntax", ("main.py", 3)),
        (
            {"main.py": "\nfrom other import x", "other.py": "\n\n1 / 0"},
            "main:plugin",
            "ZeroDiv",
            ("other.py", 3),
        ),
        ({"main.py": "import sys; sys.exit(3)"}, "main:plugin", "SystemExit: 3", ("main.py", 1)),
        ({"main.py": HEAD}, "main:plugn", "did you mean main:plugin?", ("main.py", None)),
        ({"main.py": "plugin = 5"}, "main:plugin", "main:plugin is an int, not a dlpx", ("main.py", None)),
        ({"main.py": HEAD}, "elsewhere:plugin", "No module named 'elsewhere'", ("elsewhere.py", None)),
    ],
)
def test_an_entry_point_that_cannot_be_imported_is_a_problem_with_its_place_and_trace(
    workers: Workers,
    tmp_path: Path,
    files: dict[str, str],
    entry_point: str,
    message: str,
    place: tuple[str, int | None],
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "elsewhere.py").touch()  # so that loading the plugin's files finds nothing wrong
    plugin = make_plugin(tmp_path, files, entry_point=entry_point)
    (tmp_path / "src" / "elsewhere.py").unlink()
    with dispatcher(workers, plugin) as made:
        (problem,) = made.inspect().errors
        assert message in problem.message
        assert (problem.file, problem.line) == place
        assert place[1] is None or f'{place[0]}", line {place[1]}' in problem.hint
        with pytest.raises(PluginFailed, match="tried cannot be used") as caught:
            made.run("discovery.repository", source_connection=CONNECTION)
        assert message in caught.value.message
        assert caught.value.kind
        assert "dlpx_remote" not in caught.value.output


def test_two_functions_for_one_operation_are_an_import_error_that_names_both(
    workers: Workers, tmp_path: Path
) -> None:
    code = HEAD + "@plugin.virtual.start()\ndef a(): pass\n@plugin.virtual.start()\ndef b(): pass\n"
    with dispatcher(workers, make_plugin(tmp_path, code)) as made:
        (problem,) = made.inspect().errors
    assert "virtual.start" in problem.message
    assert "'a'" in problem.message
    assert "'b'" in problem.message


def test_what_is_missing_is_skipped_has_its_default_or_fails(workers: Workers, tmp_path: Path) -> None:
    plugin = make_plugin(tmp_path, HEAD)
    virtual = {"virtual_source": SOURCES["virtual_source"], "repository": REPOSITORY}
    with dispatcher(workers, plugin) as made:
        assert made.run("linked.pre_snapshot", **LINKED) is None
        assert made.run("virtual.status", **virtual, source_config={"name": "c"}) == "ACTIVE"
        assert made.run("virtual.source_size", **virtual, source_config={"name": "c"}) is None
        with pytest.raises(
            OperationMissing,
            match=r"discovery\.repository \(Repository Discovery\), which Environment",
        ) as caught:
            made.run("discovery.repository", source_connection=CONNECTION)
        assert "@plugin.discovery.repository()" in caught.value.action
        with pytest.raises(OperationMissing, match="Virtual Source Create Empty needs"):
            made.run("virtual.initialize", **virtual)


def test_arguments_are_checked_before_anything_runs(workers: Workers, tmp_path: Path) -> None:
    plugin = make_plugin(tmp_path, HEAD)
    with dispatcher(workers, plugin) as made:
        with pytest.raises(InvalidRequest, match="takes the arguments source_connection; given were none"):
            made.run("discovery.repository")
        with pytest.raises(InvalidRequest, match="given were other, source_connection"):
            made.run("discovery.repository", source_connection=CONNECTION, other=1)
        with pytest.raises(InvalidRequest, match=r"repository given to discovery\.source_config") as caught:
            made.run("discovery.source_config", source_connection=CONNECTION, repository={"old": 1})
        assert "migrated or discovered again" in caught.value.action
        with pytest.raises(InvalidRequest, match=r"no plugin operation linked\.worker for DIRECT plugins"):
            made.run("linked.worker")


def test_a_result_that_breaks_the_schema_names_the_operation_and_the_place(
    workers: Workers, tmp_path: Path
) -> None:
    plugin = discovering(
        tmp_path,
        "return [RepositoryDefinition(name='a', port=5), RepositoryDefinition(name='b', port=7)]",
        definitions={
            "repositoryDefinition": {
                **OBJECT,
                "properties": {**OBJECT["properties"], "port": {"type": "integer", "multipleOf": 5}},
            }
        },
    )
    with pytest.raises(WrongResult) as caught:
        run(workers, plugin, "discovery.repository", source_connection=CONNECTION)
    message = caught.value.message
    assert message.startswith(
        "discovery.repository of the plugin tried returned a repositoryDefinition (number 2 of 2)"
    )
    assert "port" in message
    assert "multiple of 5" in message


def test_two_repositories_with_one_identity_are_refused_and_named(workers: Workers, tmp_path: Path) -> None:
    plugin = discovering(
        tmp_path,
        "return [RepositoryDefinition('a', 1), RepositoryDefinition('b', 1), RepositoryDefinition('a', 2)]",
    )
    with pytest.raises(WrongResult, match=r'same identity {"name": "a"} \(numbers 1 and 3\)'):
        run(workers, plugin, "discovery.repository", source_connection=CONNECTION)


@pytest.mark.parametrize(
    ("plugin_type", "operation", "result", "expected"),
    [
        (PluginType.STAGED, "linked.mount_specification", "MountSpecification([])", "returned no mount"),
        (
            PluginType.STAGED,
            "linked.mount_specification",
            "MountSpecification([Mount(E, '/m', '/part')])",
            "a single mount with the shared_path '/part'",
        ),
        (
            PluginType.DIRECT,
            "virtual.mount_specification",
            "MountSpecification([Mount(E, '')])",
            "a mount without a mount_path",
        ),
    ],
)
def test_mount_specifications_that_break_a_rule_are_refused(
    workers: Workers, tmp_path: Path, plugin_type: PluginType, operation: str, result: str, expected: str
) -> None:
    plugin = implementing(
        tmp_path,
        operation,
        "**arguments",
        result.replace("E", "'UNIX_HOST_ENVIRONMENT-7'"),
        plugin_type=plugin_type,
    )
    source = "staged_source" if plugin_type is PluginType.STAGED else "virtual_source"
    with pytest.raises(WrongResult, match=re.escape(expected)):
        run(workers, plugin, operation, **{source: SOURCES[source]}, repository=REPOSITORY)


@pytest.mark.parametrize(
    ("result", "mounts", "ownership"),
    [
        (
            "MountSpecification([Mount(E, '/m')])",
            [{"environment": "UNIX_HOST_ENVIRONMENT-1", "mount_path": "/m", "shared_path": None}],
            None,
        ),
        (
            "MountSpecification([Mount('WINDOWS_HOST_ENVIRONMENT-4', 'X:', 'a'), Mount(E, '/b', 'b')], "
            "OwnershipSpecification(10, 20))",
            [
                {"environment": "WINDOWS_HOST_ENVIRONMENT-4", "mount_path": "X:", "shared_path": "a"},
                {"environment": "UNIX_HOST_ENVIRONMENT-1", "mount_path": "/b", "shared_path": "b"},
            ],
            {"uid": 10, "gid": 20},
        ),
    ],
)
def test_a_staged_source_gets_its_mounts_and_gives_its_specification(
    workers: Workers, tmp_path: Path, result: str, mounts: list[object], ownership: object
) -> None:
    plugin = implementing(
        tmp_path,
        "linked.mount_specification",
        "staged_source, repository",
        result.replace("E,", "staged_source.mount.remote_environment,"),
        plugin_type=PluginType.STAGED,
    )
    found = run(
        workers,
        plugin,
        "linked.mount_specification",
        staged_source=SOURCES["staged_source"],
        repository=REPOSITORY,
    )
    assert found == {"mounts": mounts, "ownership": ownership}


def test_a_staged_source_with_several_mounts_gets_them_all(workers: Workers, tmp_path: Path) -> None:
    plugin = implementing(
        tmp_path,
        "linked.post_snapshot",
        "staged_source, repository, source_config, snapshot_parameters",
        "SnapshotDefinition(text=f'{staged_source.mount} {[m.mount_path for m in staged_source.mounts]}')",
        plugin_type=PluginType.STAGED,
    )
    source = {**SOURCES["staged_source"], "mount": None, "mounts": [MOUNT, {**MOUNT, "mount_path": "/b"}]}
    found = run(
        workers,
        plugin,
        "linked.post_snapshot",
        staged_source=source,
        repository=REPOSITORY,
        source_config={"name": "c"},
    )
    assert found == {"text": "None ['/mnt', '/b']"}


@pytest.mark.parametrize(
    ("operation", "result", "expected"),
    [
        ("virtual.status", "Status.INACTIVE", "INACTIVE"),
        ("virtual.source_size", "2 ** 50", 2**50),
        ("virtual.stop", "{1: object()}", None),
    ],
)
def test_other_results_are_plain_values(
    workers: Workers, tmp_path: Path, operation: str, result: str, expected: object
) -> None:
    plugin = implementing(tmp_path, operation, "virtual_source, repository, source_config", result)
    found = run(
        workers,
        plugin,
        operation,
        virtual_source=SOURCES["virtual_source"],
        repository=REPOSITORY,
        source_config={"name": "c"},
    )
    assert found == expected


MIGRATIONS = (
    HEAD
    + """
@plugin.upgrade.repository("2.10")
def third(repository):
    return {**repository, "port": repository["port"] * 2}
@plugin.upgrade.repository("2.9")
def second(old):
    old["port"] = 5
    return old
@plugin.upgrade.repository("1.0")
def first(old_repository):
    return {"name": old_repository["title"]}
@plugin.upgrade.snapshot("3.0")
def bad(old_snapshot):
    return [old_snapshot]
@plugin.upgrade.source_config("4.0")
def misfit(old_source_config):
    return {"port": "x"}
"""
)


def test_migrations_run_in_the_order_of_their_ids_after_the_last_one(
    workers: Workers, tmp_path: Path
) -> None:
    with dispatcher(workers, make_plugin(tmp_path, MIGRATIONS)) as made:
        assert made.migrate("repository", {"title": "a"}) == ({"name": "a", "port": 10}, "2.10")
        assert made.migrate("repository", {"name": "a"}, after="1.0.0") == ({"name": "a", "port": 10}, "2.10")
        assert made.migrate("repository", {"name": "a"}, after="2.10.0") == ({"name": "a"}, "2.10.0")
        assert made.migrate("virtual_source", {"text": "a"}) == ({"text": "a"}, None)
        with pytest.raises(WrongResult, match=r"upgrade\.snapshot.*returned a list, but must return a dict"):
            made.migrate("snapshot", {})
        with pytest.raises(WrongResult, match="does not fit the sourceConfigDefinition after migrating"):
            made.migrate("source_config", {})


@pytest.mark.parametrize(
    ("body", "error"), [("import os; os._exit(1)", WorkerDied), ("while 1: pass", OperationTimeout)]
)
def test_a_dispatcher_starts_a_new_worker_after_one_died(
    workers: Workers, tmp_path: Path, body: str, error: type[RemoteError]
) -> None:
    code = HEAD + (
        f"@plugin.discovery.repository()\ndef f(source_connection):\n    {body}\n"
        "@plugin.virtual.stop()\ndef g(**all): print('stopped')\n"
    )
    with dispatcher(workers, make_plugin(tmp_path, code), Limits(grace=0)) as made:
        with pytest.raises(error):
            made.run("discovery.repository", timeout=0.5, source_connection=CONNECTION)
        virtual = {"virtual_source": SOURCES["virtual_source"], "repository": REPOSITORY}
        assert made.run("virtual.stop", **virtual, source_config={"name": "c"}) is None
