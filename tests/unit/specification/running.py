"""Makes a plugin out of an example, and the arguments that an engine would give it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from dlpx.virtualization.platform.operation_table import ArgumentKind, Operation, PluginType
from dlpx_remote.operations import Dispatcher, LibraryCalls
from dlpx_remote.plugins.plugin import Plugin, load_plugin
from dlpx_remote.plugins.worker import LogCallback, Workers

CONFIGURATION = """\
id: 0f4d2a57-3bd0-4a0c-9be2-4f8a0b0f5a11
name: an-example
language: PYTHON311
hostTypes: [UNIX]
pluginType: {plugin_type}
entryPoint: example:plugin
srcDir: src
schemaFile: schema.json
buildNumber: '1'
"""

ANYTHING: dict[str, Any] = {"type": "object", "properties": {}}
DISCOVERED: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "identityFields": ["name"],
    "nameField": "name",
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "repositoryDefinition": DISCOVERED,
    "sourceConfigDefinition": DISCOVERED,
    "linkedSourceDefinition": ANYTHING,
    "virtualSourceDefinition": ANYTHING,
    "snapshotDefinition": ANYTHING,
}

USER = {"name": "postgres", "reference": "HOST_USER-7"}


def environment(number: int) -> dict[str, Any]:
    """An environment as the engine hands it to a plugin."""
    return {
        "name": f"host{number}",
        "reference": f"UNIX_HOST_ENVIRONMENT-{number}",
        "host": {
            "name": f"host{number}",
            "reference": f"UNIX_HOST-{number}",
            "binary_path": "/opt/toolkit/bin",
            "scratch_path": "/opt/toolkit/scratch",
        },
    }


def connection(number: int) -> dict[str, Any]:
    """A connection as the engine hands it to a plugin."""
    return {"environment": environment(number), "user": USER}


def arguments_for(operation: Operation, values: Mapping[ArgumentKind, Any]) -> dict[str, Any]:
    """Arguments of ``operation`` by the table's names: one in ``values`` for its kind, else an empty one."""
    mount = {"environment": environment(3), "mount_path": "/mnt/data", "shared_path": None}
    parameters = values.get(ArgumentKind.DIRECT_SOURCE, {})
    usual: dict[ArgumentKind, Any] = {
        ArgumentKind.CONNECTION: connection(1),
        ArgumentKind.REPOSITORY: {},
        ArgumentKind.SOURCE_CONFIG: {},
        ArgumentKind.SNAPSHOT: {},
        ArgumentKind.SNAPSHOT_PARAMETERS: None,
        ArgumentKind.DIRECT_SOURCE: {
            "guid": "direct-1",
            "connection": connection(1),
            "parameters": parameters,
        },
        ArgumentKind.STAGED_SOURCE: {
            "guid": "staged-1",
            "source_connection": connection(1),
            "staged_connection": connection(2),
            "parameters": {},
            "mount": mount,
        },
        ArgumentKind.VIRTUAL_SOURCE: {
            "guid": "virtual-1",
            "connection": connection(3),
            "parameters": {},
            "mounts": [mount],
        },
    }
    return {argument.name: {**usual, **values}[argument.kind] for argument in operation.arguments}


def plugin_from(
    directory: Path, code: str, plugin_type: PluginType, schemas: Mapping[str, dict[str, Any]]
) -> Plugin:
    """Write a plugin to ``directory`` and load it.

    Args:
        directory: an empty one.
        code: the module with the object ``plugin``.
        plugin_type: what kind of plugin it is to be.
        schemas: definitions by name. Those missing are taken from DEFINITIONS; identity fields missing from a
            definition that needs them are its first property.
    """
    definitions = {**DEFINITIONS, **schemas}
    for name in ("repositoryDefinition", "sourceConfigDefinition"):
        first = next(iter(definitions[name]["properties"]))
        definitions[name] = {"identityFields": [first], "nameField": first, **definitions[name]}
    (directory / "src").mkdir()
    (directory / "src" / "example.py").write_text(code, encoding="utf-8")
    (directory / "schema.json").write_text(json.dumps(definitions), encoding="utf-8")
    configuration = CONFIGURATION.format(plugin_type=plugin_type.value)
    (directory / "plugin_config.yml").write_text(configuration, encoding="utf-8")
    return load_plugin(directory)


class NoHosts:
    """For examples that reach out to no host."""

    def connection(self, environment_reference: str, user_reference: str) -> NoReturn:
        raise AssertionError(f"The example asked for {environment_reference} as {user_reference}.")

    def privilege(self, environment_reference: str, user_reference: str) -> NoReturn:
        raise AssertionError(f"The example asked for {environment_reference} as {user_reference}.")


def dispatcher_for(workers: Workers, plugin: Plugin, on_log: LogCallback | None = None) -> Dispatcher:
    """What runs the plugin's operations."""
    return Dispatcher(workers, plugin, LibraryCalls(NoHosts()), job="JOB-1", on_log=on_log)
