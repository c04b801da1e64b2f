"""Plugins for tests, written to disk: a good one, changed where a test wants it bad."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml

CONFIG: dict[str, Any] = {
    "id": "7cf830f2-82f3-4d5d-a63c-7bbe50c22b32",
    "name": "Kettle",
    "hostTypes": ["UNIX"],
    "entryPoint": "kettle:plugin",
    "srcDir": "src",
    "schemaFile": "schema.json",
    "pluginType": "DIRECT",
    "language": "PYTHON311",
    "buildNumber": "1.0.2",
}

SCHEMA: dict[str, Any] = {
    "repositoryDefinition": {
        "type": "object",
        "additionalProperties": False,
        "required": ["installPath"],
        "properties": {"installPath": {"type": "string"}, "version": {"type": "string"}},
        "identityFields": ["installPath"],
        "nameField": "installPath",
    },
    "sourceConfigDefinition": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
        "identityFields": ["name", "port"],
        "nameField": ["name"],
    },
    "linkedSourceDefinition": {"type": "object", "properties": {}},
    "virtualSourceDefinition": {"type": "object", "properties": {}},
    "snapshotDefinition": {"type": "object", "properties": {}},
    "snapshotParametersDefinition": {"type": "object", "properties": {"resync": {"type": "boolean"}}},
}

CODE = """\
from dlpx.virtualization.platform import Plugin

plugin = Plugin()


@plugin.discovery.repository()
def repositories(source_connection):
    return []


@plugin.discovery.source_config()
def source_configs(source_connection, repository):
    return []


@plugin.linked.post_snapshot()
def linked_post_snapshot(direct_source, repository, source_config):
    pass


@plugin.virtual.configure()
def configure(virtual_source, snapshot, repository):
    pass


@plugin.virtual.reconfigure()
def reconfigure(virtual_source, repository, source_config, snapshot):
    pass


@plugin.virtual.post_snapshot()
def virtual_post_snapshot(virtual_source, repository, source_config):
    pass


@plugin.virtual.mount_specification()
def mounts(virtual_source, repository):
    pass
"""


def write_plugin(
    directory: Path,
    *,
    config: dict[str, Any] | str | None = None,
    schema: dict[str, Any] | str | None = None,
    code: str | dict[str, str] = CODE,
) -> Path:
    """A plugin in ``directory``.

    Args:
        directory: made when missing.
        config: keys that differ from the good ones (None takes a key out), or the whole file.
        schema: definitions that differ (None takes one out), or the whole file.
        code: the entry point's text, or files by their paths below ``src``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not isinstance(config, str):
        config = yaml.safe_dump(_changed(CONFIG, config or {}), sort_keys=False)
    if not isinstance(schema, str):
        schema = json.dumps(_changed(SCHEMA, schema or {}), indent=2)
    (directory / "plugin_config.yml").write_text(config)
    (directory / "schema.json").write_text(schema)
    for name, text in ({"kettle.py": code} if isinstance(code, str) else code).items():
        file = directory / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return directory


def _changed(good: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    whole = {**copy.deepcopy(good), **changes}
    return {key: value for key, value in whole.items() if value is not None}
