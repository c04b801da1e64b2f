"""Checks what goes into a plugin operation and what comes out, against the table and the plugin's schema.

The worker has already checked the type of a result; here its values are checked, on this side of the border.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dlpx.virtualization.platform.operation_table import ArgumentKind, Operation, ResultKind
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.plugins.worker import WrongResult

_SHOWN = 10
ARGUMENT_DEFINITIONS = {
    ArgumentKind.REPOSITORY: ("repositoryDefinition", None),
    ArgumentKind.SOURCE_CONFIG: ("sourceConfigDefinition", None),
    ArgumentKind.SNAPSHOT: ("snapshotDefinition", None),
    ArgumentKind.SNAPSHOT_PARAMETERS: ("snapshotParametersDefinition", None),
    ArgumentKind.DIRECT_SOURCE: ("linkedSourceDefinition", "parameters"),
    ArgumentKind.STAGED_SOURCE: ("linkedSourceDefinition", "parameters"),
    ArgumentKind.VIRTUAL_SOURCE: ("virtualSourceDefinition", "parameters"),
}
"""The definition that an argument must fit, and the part of it that must; None is all of it."""
RESULT_DEFINITIONS = {
    ResultKind.REPOSITORIES: "repositoryDefinition",
    ResultKind.SOURCE_CONFIGS: "sourceConfigDefinition",
    ResultKind.SNAPSHOT: "snapshotDefinition",
    ResultKind.SOURCE_CONFIG: "sourceConfigDefinition",
}
"""The definition that a result, or each item of it, must fit."""
MIGRATED_DEFINITIONS = {
    "repository": "repositoryDefinition",
    "source_config": "sourceConfigDefinition",
    "linked_source": "linkedSourceDefinition",
    "virtual_source": "virtualSourceDefinition",
    "snapshot": "snapshotDefinition",
}
"""The definition that an object must fit once all migrations of its kind have run."""


def check_arguments(plugin: Plugin, operation: Operation, arguments: Mapping[str, Any]) -> None:
    """Raise InvalidRequest unless ``arguments`` are those of the table, with values that fit the schema."""
    known = {argument.name for argument in operation.arguments}
    needed = {
        argument.name
        for argument in operation.arguments
        if argument.kind is not ArgumentKind.SNAPSHOT_PARAMETERS
    }
    if not needed <= arguments.keys() <= known:
        raise InvalidRequest(
            f"{operation.name} takes the arguments {', '.join(sorted(known))}; "
            f"given were {', '.join(sorted(arguments)) or 'none'}."
        )
    for argument in operation.arguments:
        definition, part = ARGUMENT_DEFINITIONS.get(argument.kind, (None, None))
        value = arguments.get(argument.name)
        if definition is None or value is None:
            continue
        problems = plugin.schema.validate(definition, value if part is None else value[part])
        if problems:
            raise InvalidRequest(
                f"The {argument.name} given to {operation.name} of the plugin {plugin.config.name} "
                f"does not fit its {definition}: {_listed(problems)}",
                "Where an earlier build of the plugin stored it, it has to be migrated or discovered again.",
            )


def check_result(plugin: Plugin, operation: Operation, result: Any) -> None:
    """Raise WrongResult unless ``result`` is what ``operation`` may return."""
    definition = RESULT_DEFINITIONS.get(operation.result)
    if definition is not None:
        several = isinstance(result, list)
        for number, item in enumerate(result if several else [result], 1):
            problems = plugin.schema.validate(definition, item)
            if problems:
                which = f"a {definition} (number {number} of {len(result)})" if several else f"a {definition}"
                raise _wrong(plugin, operation, f"{which} that does not fit the schema: {_listed(problems)}")
        if several:
            _check_identities(plugin, operation, definition, result)
    elif operation.result is ResultKind.MOUNT_SPECIFICATION:
        _check_mounts(plugin, operation, result)


def check_migrated(plugin: Plugin, operation: Operation, value: Any) -> None:
    """Raise WrongResult unless an object fits its definition after its last migration."""
    definition = MIGRATED_DEFINITIONS[operation.attribute]
    problems = plugin.schema.validate(definition, value)
    if problems:
        raise _wrong(
            plugin,
            operation,
            f"an object that does not fit the {definition} after migrating: {_listed(problems)}",
        )


def _check_identities(
    plugin: Plugin, operation: Operation, definition: str, found: list[Mapping[str, Any]]
) -> None:
    seen: dict[str, int] = {}
    for number, item in enumerate(found, 1):
        identity = json.dumps(plugin.schema.identity(definition, item), sort_keys=True)
        if identity in seen:
            raise _wrong(
                plugin,
                operation,
                f"two objects with the same identity {identity} (numbers {seen[identity]} and {number})",
                "The values of the identity fields must be different for each.",
            )
        seen[identity] = number


def _check_mounts(plugin: Plugin, operation: Operation, result: Mapping[str, Any]) -> None:
    mounts = result["mounts"]
    if any(not isinstance(mount["mount_path"], str) or not mount["mount_path"] for mount in mounts):
        raise _wrong(
            plugin, operation, "a mount without a mount_path", "A mount_path is a directory on the host."
        )
    if operation.group != "linked":
        return
    if not mounts:
        raise _wrong(
            plugin,
            operation,
            "no mount",
            "A staged source needs at least one mount on its staging environment.",
        )
    if len(mounts) == 1 and mounts[0]["shared_path"] is not None:
        raise _wrong(
            plugin,
            operation,
            f"a single mount with the shared_path {mounts[0]['shared_path']!r}",
            "A staged source with one mount mounts its whole data set: leave shared_path out.",
        )


def _wrong(plugin: Plugin, operation: Operation, found: str, action: str = "") -> WrongResult:
    return WrongResult(
        f"{operation.name} of the plugin {plugin.config.name} returned {found.rstrip('.')}.",
        action or "This is a fault of the plugin, or of its schema.",
        plugin=plugin.config.name,
        operation=operation.name,
    )


def _listed(problems: list[str]) -> str:
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problem.rstrip(".") for problem in problems[:_SHOWN]) + more + "."
