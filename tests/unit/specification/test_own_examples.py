"""Runs every operation of the table, for both plugin types, with two plugins of the project's own.

They cover what the specification page's examples cover and what came later, and need nothing from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dlpx.virtualization.platform.operation_table import ArgumentKind, PluginType, operations_for
from dlpx_remote.operations import Dispatcher
from dlpx_remote.plugins.check import check_plugin
from dlpx_remote.plugins.plugin import load_plugin
from dlpx_remote.plugins.worker import LogLine, Workers
from tests.unit.specification.running import arguments_for, connection, dispatcher_for, environment

PLUGINS = Path(__file__).parent / "plugins"
MOUNT = {"environment": environment(3), "mount_path": "/mnt/data", "shared_path": None}


@dataclass(frozen=True)
class Expected:
    """What an operation returns, and what it logs."""

    result: Any = None
    log: str = ""


@dataclass(frozen=True)
class Case:
    """A plugin, what its operations are given beyond the usual, what they do, and its migrations."""

    name: str
    plugin_type: PluginType
    values: dict[ArgumentKind, Any]
    expected: dict[str, Expected]
    migrations: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


NOTEBOOKS = Case(
    "notebooks",
    PluginType.DIRECT,
    {
        ArgumentKind.REPOSITORY: {"installPath": "/opt/notes", "version": "1.2"},
        ArgumentKind.SOURCE_CONFIG: {"name": "diary", "port": 8000},
        ArgumentKind.SNAPSHOT: {"pageCount": 12},
        ArgumentKind.SNAPSHOT_PARAMETERS: {"full": True},
        ArgumentKind.DIRECT_SOURCE: {
            "guid": "direct-1",
            "connection": connection(1),
            "parameters": {"dataPath": "/home/diary"},
        },
        ArgumentKind.VIRTUAL_SOURCE: {
            "guid": "virtual-1",
            "connection": connection(3),
            "parameters": {"mountPath": "/mnt/diary", "port": 8001},
            "mounts": [MOUNT],
        },
    },
    {
        "discovery.repository": Expected(
            [
                {"installPath": "/opt/host1", "version": "1.2"},
                {"installPath": "/usr", "version": "1.3"},
            ]
        ),
        "discovery.source_config": Expected([{"name": "/opt/notes/diary of postgres", "port": 8000}]),
        "linked.pre_snapshot": Expected(log="copy diary from /home/diary (full: True)"),
        "linked.post_snapshot": Expected({"pageCount": 8}),
        "linked.source_size": Expected(3221225472),
        "virtual.mount_specification": Expected(
            {
                "mounts": [
                    {
                        "environment": "UNIX_HOST_ENVIRONMENT-3",
                        "mount_path": "/mnt/diary",
                        "shared_path": None,
                    }
                ],
                "ownership": {"uid": 1001, "gid": 1002},
            }
        ),
        "virtual.configure": Expected({"name": "/mnt/diary with 12 pages", "port": 8001}),
        "virtual.reconfigure": Expected({"name": "diary again", "port": 8000}),
        "virtual.initialize": Expected({"name": "an empty notebook"}),
        "virtual.unconfigure": Expected(log="unconfigure diary"),
        "virtual.cleanup": Expected(log="cleanup diary"),
        "virtual.start": Expected(log="start diary at /mnt/data"),
        "virtual.stop": Expected(log="stop diary"),
        "virtual.pre_snapshot": Expected(log="flush diary"),
        "virtual.post_snapshot": Expected({"pageCount": 40, "full": True}),
        "virtual.status": Expected("ACTIVE"),
        "virtual.source_size": Expected(0),
    },
    {
        "repository": (
            {"path": "/opt/notes", "version": "1.2-beta"},
            {"installPath": "/opt/notes", "version": "1.2"},
            "2024.10",
        ),
        "source_config": ({"name": "diary", "port": "80"}, {"name": "diary", "port": 80}, "2024.2"),
        "linked_source": ({"directory": "/home/diary"}, {"dataPath": "/home/diary"}, "2024.3"),
        "virtual_source": ({"mountPath": "/m", "colour": "red"}, {"mountPath": "/m"}, "2024.4"),
        "snapshot": ({"pages": ["a", "b"]}, {"pageCount": 2}, "2024.5"),
    },
)

LEDGERS = Case(
    "ledgers",
    PluginType.STAGED,
    {
        ArgumentKind.REPOSITORY: {"home": "/opt/ledger", "uid": 501, "gid": 20},
        ArgumentKind.SOURCE_CONFIG: {"ledger": "sales", "years": [2023, 2024]},
        ArgumentKind.SNAPSHOT: {"entryId": 5},
        ArgumentKind.SNAPSHOT_PARAMETERS: {"resync": False},
    },
    {
        "discovery.repository": Expected([{"home": "/opt/toolkit/bin", "uid": 501}]),
        "discovery.source_config": Expected([{"ledger": "/opt/ledger/sales", "years": [2023, 2024]}]),
        "linked.mount_specification": Expected(
            {
                "mounts": [
                    {
                        "environment": "UNIX_HOST_ENVIRONMENT-2",
                        "mount_path": "/staging/ledger",
                        "shared_path": None,
                    }
                ],
                "ownership": {"uid": 501, "gid": 20},
            }
        ),
        "linked.start_staging": Expected(log="start staging sales at /mnt/data"),
        "linked.stop_staging": Expected(log="stop staging sales"),
        "linked.status": Expected("INACTIVE"),
        "linked.worker": Expected(log="look after staged-1"),
        "linked.pre_snapshot": Expected(log="resync sales: False"),
        "linked.post_snapshot": Expected({"entryId": 2}),
        "linked.source_size": Expected(2048),
        "virtual.mount_specification": Expected(
            {
                "mounts": [
                    {
                        "environment": "UNIX_HOST_ENVIRONMENT-3",
                        "mount_path": "/ledger/data",
                        "shared_path": "data",
                    },
                    {
                        "environment": "UNIX_HOST_ENVIRONMENT-3",
                        "mount_path": "/ledger/log",
                        "shared_path": "log",
                    },
                ],
                "ownership": None,
            }
        ),
        "virtual.configure": Expected({"ledger": "virtual-1 from entry 5"}),
        "virtual.reconfigure": Expected({"ledger": "sales", "years": [2025]}),
        "virtual.initialize": Expected({"ledger": "an empty ledger"}),
        "virtual.unconfigure": Expected(log="unconfigure sales"),
        "virtual.cleanup": Expected(log="cleanup sales"),
        "virtual.start": Expected(log="start sales"),
        "virtual.stop": Expected(log="stop sales"),
        "virtual.pre_snapshot": Expected(log="close the books of sales"),
        "virtual.post_snapshot": Expected({"entryId": 99}),
        "virtual.status": Expected("ACTIVE"),
        "virtual.source_size": Expected(7),
    },
    {
        "repository": ({"uid": 1}, {"home": "/opt/ledger", "uid": 1}, "1.1"),
        "source_config": ({"ledger": "s", "years": 2024}, {"ledger": "s", "years": [2024]}, "1.2"),
        "linked_source": ({"anything": 1}, {}, "1.3"),
        "virtual_source": ({"anything": 1}, {"anything": 1}, "1.4"),
        "snapshot": ({"entryId": "7"}, {"entryId": 7}, "1.5"),
    },
)

CASES = [NOTEBOOKS, LEDGERS]
OPERATIONS = [(case, operation) for case in CASES for operation in case.expected]
MIGRATIONS = [(case, object_type) for case in CASES for object_type in case.migrations]


@dataclass
class Running:
    dispatcher: Dispatcher
    log: list[LogLine]


@pytest.fixture(scope="module")
def running(workers: Workers) -> Iterator[dict[str, Running]]:
    """One dispatcher for each of the two plugins."""
    started: dict[str, Running] = {}
    for case in CASES:
        log: list[LogLine] = []
        plugin = load_plugin(PLUGINS / case.name)
        started[case.name] = Running(dispatcher_for(workers, plugin, log.append), log)
    yield started
    for one in started.values():
        one.dispatcher.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_is_wrong_with_the_plugin(case: Case, workers: Workers) -> None:
    assert list(check_plugin(PLUGINS / case.name, workers).problems) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_of_the_table_is_tried(case: Case) -> None:
    tried = {*case.expected, *(f"upgrade.{object_type}" for object_type in case.migrations)}
    assert tried == set(operations_for(case.plugin_type))


@pytest.mark.parametrize(("case", "operation"), OPERATIONS, ids=str)
def test_an_operation_is_called_with_its_arguments_and_returns_its_result(
    case: Case, operation: str, running: dict[str, Running]
) -> None:
    one, entry = running[case.name], operations_for(case.plugin_type)[operation]
    one.log.clear()
    result = one.dispatcher.run(operation, **arguments_for(entry, case.values))
    assert result == case.expected[operation].result
    logged = [(line.plugin, line.job, line.operation, line.message) for line in one.log]
    expected = case.expected[operation].log
    assert logged == ([(case.name, "JOB-1", operation, expected)] if expected else [])


@pytest.mark.parametrize(("case", "object_type"), MIGRATIONS, ids=str)
def test_a_stored_object_is_migrated_to_the_newest_version(
    case: Case, object_type: str, running: dict[str, Running]
) -> None:
    old, new, last = case.migrations[object_type]
    dispatcher = running[case.name].dispatcher
    assert dispatcher.migrate(object_type, old) == (new, last)
    assert dispatcher.migrate(object_type, new, after=last) == (new, last)


def test_a_migration_that_ran_before_is_left_out(running: dict[str, Running]) -> None:
    half_way = {"installPath": "/opt/notes", "version": "1.2-beta"}
    migrated, last = running["notebooks"].dispatcher.migrate("repository", half_way, after="2024.1.0")
    assert (migrated["version"], last) == ("1.2", "2024.10")
