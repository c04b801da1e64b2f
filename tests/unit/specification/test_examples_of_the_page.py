"""Runs every example of the specification page as it is written there, misspellings included.

Where the page gives no schema beside an example, one that allows anything stands in for it. The page gives no
schema for snapshot parameters at all; the one its example needs is the one it was written for.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dlpx.virtualization.platform.operation_table import OPERATIONS, ArgumentKind, Operation, PluginType
from dlpx_remote.plugins.worker import Workers
from tests.unit.specification.page import Example, examples_of, specification_page
from tests.unit.specification.running import arguments_for, dispatcher_for, plugin_from

PAGE = specification_page()
assert PAGE is not None, "conftest.py does not collect this file without the page"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = examples_of(TEXT)
TABLE = {operation.title: operation for operation in OPERATIONS}

REPOSITORY = {"uid": 1001, "gid": 1002}
RESYNC = {"type": "object", "additionalProperties": False, "properties": {"resync": {"type": "boolean"}}}


def a_mount_on(environment_reference: str) -> dict[str, Any]:
    return {
        "mounts": [{"environment": environment_reference, "mount_path": "/some/path", "shared_path": None}],
        "ownership": {"uid": 1001, "gid": 1002},
    }


RESULTS: dict[str, Any] = {
    "Repository Discovery": [{"installPath": "/usr/bin/install", "version": "1.2.3"}],
    "Source Config Discovery": [{"name": "my_name", "port": 10000}],
    "Direct Linked Source Pre-Snapshot": None,
    "Direct Linked Source Post-Snapshot": {"transactionId": 1000},
    "Staged Linked Source Pre-Snapshot": None,
    "Staged Linked Source Post-Snapshot": {"transactionId": 1000},
    "Staged Linked Source Start-Staging": None,
    "Staged Linked Source Stop-Staging": None,
    "Staged Linked Source Status": "ACTIVE",
    "Staged Linked Source Worker": None,
    "Staged Linked Source Mount Specification": a_mount_on("UNIX_HOST_ENVIRONMENT-2"),
    "Virtual Source Configure": {"name": "config_name"},
    "Virtual Source Unconfigure": None,
    "Virtual Source Reconfigure": {"name": "updated_config_name"},
    "Virtual Source Start": None,
    "Virtual Source Stop": None,
    "Virtual Source Pre-Snapshot": None,
    # The example sets a number where the schema beside it wants a string.
    "Virtual Source Post-Snapshot": {"transactionId": "1000"},
    "Virtual Source Mount Specification": a_mount_on("UNIX_HOST_ENVIRONMENT-3"),
    "Virtual Source Status": "ACTIVE",
}


def run(example: Example, directory: Path, workers: Workers, resync: bool = True) -> Any:
    """What the dispatcher makes of the example."""
    operation = TABLE[example.title]
    plugin_type = PluginType.DIRECT if PluginType.DIRECT in operation.plugin_types else PluginType.STAGED
    schemas = {"snapshotParametersDefinition": RESYNC, **example.schemas}
    values: dict[ArgumentKind, Any] = {
        ArgumentKind.REPOSITORY: REPOSITORY,
        ArgumentKind.SOURCE_CONFIG: {"name": "old_config_name"},
        ArgumentKind.SNAPSHOT_PARAMETERS: {"resync": resync},
    }
    plugin = plugin_from(directory, example.code, plugin_type, schemas)
    with dispatcher_for(workers, plugin) as dispatcher:
        assert dispatcher.implements(operation.name)
        return dispatcher.run(operation.name, **arguments_for(operation, values))


def test_every_example_of_the_page_is_expected_here() -> None:
    assert sorted(example.title for example in EXAMPLES) == sorted(RESULTS)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_runs_as_it_is_written(example: Example, tmp_path: Path, workers: Workers) -> None:
    assert run(example, tmp_path, workers) == RESULTS[example.title]


def test_the_example_with_snapshot_parameters_heeds_them(tmp_path: Path, workers: Workers) -> None:
    (example,) = (one for one in EXAMPLES if one.title == "Staged Linked Source Post-Snapshot")
    assert run(example, tmp_path, workers, resync=False) == {"transactionId": 10}


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_table_of_operations_agrees_with_the_page(example: Example) -> None:
    operation: Operation = TABLE[example.title]
    section = TEXT[TEXT.index(f"## {example.title}\n") :]
    signature = re.search(r"### Signature\s+`def \w+\(([^)]*)\)`", section)
    required = re.search(r"### Required / Optional\s+\*\*(Required|Optional)", section)
    assert signature is not None
    assert required is not None
    assert operation.name == example.operation
    wanted = [argument.name for argument in operation.arguments if not argument.optional]
    assert wanted == signature[1].split(", ")
    assert operation.required == (required[1] == "Required")
