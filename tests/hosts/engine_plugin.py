"""A small plugin for the tests of the engine: finds directories below a place, and files in each."""

from __future__ import annotations

import json
from pathlib import Path

IDENTIFIER = "16bef554-9470-11e9-b2e3-8c8590d4a42c"

CONFIG = """\
id: {identifier}
name: {name}
hostTypes:
  - {host_type}
entryPoint: finder:plugin
srcDir: src
schemaFile: schema.json
manualDiscovery: {manual}
pluginType: DIRECT
language: PYTHON311
buildNumber: "{build}"
"""

CODE = """
import logging
from dlpx.virtualization import libs
from dlpx.virtualization.platform import Plugin
from generated.definitions import RepositoryDefinition, SnapshotDefinition, SourceConfigDefinition

plugin = Plugin()
logging.getLogger().setLevel(logging.INFO)


@plugin.discovery.repository()
def find_repositories(source_connection):
    scratch = source_connection.environment.host.scratch_path
    found = libs.run_bash(
        source_connection,
        'test -w "$SCRATCH" && ls -d @PLACE@/*/',
        {"SCRATCH": scratch},
        check=True,
    )
    return [RepositoryDefinition(path=line.rstrip("/")) for line in found.stdout.splitlines()]


@plugin.discovery.source_config()
def find_source_configs(source_connection, repository):
    found = libs.run_bash(source_connection, "ls -s %s" % repository.path, check=True)
    lines = [line.split() for line in found.stdout.splitlines()[1:]]
    return [SourceConfigDefinition(name=name, blocks=int(blocks)) for blocks, name in lines]


@plugin.linked.post_snapshot()
def post_snapshot(direct_source, repository, source_config):
    return SnapshotDefinition()
"""


def _object(properties: dict[str, object], **more: object) -> dict[str, object]:
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


SCHEMA = {
    "repositoryDefinition": _object(
        {"path": {"type": "string"}}, required=["path"], identityFields=["path"], nameField="path"
    ),
    "sourceConfigDefinition": _object(
        {"name": {"type": "string"}, "blocks": {"type": "integer", "minimum": 0}},
        required=["name", "blocks"],
        identityFields=["name"],
        nameField="name",
    ),
    "virtualSourceDefinition": _object({}),
    "linkedSourceDefinition": _object({}),
    "snapshotDefinition": _object({}),
}


def write_plugin(
    directory: Path,
    place: Path,
    *,
    name: str = "finder",
    identifier: str = IDENTIFIER,
    build: str = "1.0.0",
    host_type: str = "UNIX",
    manual: bool = True,
    code: str = CODE,
) -> Path:
    """Write the plugin into ``directory``; it looks for directories below ``place``."""
    (directory / "src").mkdir(parents=True)
    config = CONFIG.format(
        identifier=identifier, name=name, build=build, host_type=host_type, manual=str(manual).lower()
    )
    (directory / "plugin_config.yml").write_text(config)
    (directory / "schema.json").write_text(json.dumps(SCHEMA))
    (directory / "src" / "finder.py").write_text(code.replace("@PLACE@", str(place)))
    return directory
