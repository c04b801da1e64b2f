"""A direct plugin for directory trees: copies one with ``run_sync``, and runs a "service" in each clone.

The service is a file ``RUNNING`` in the mounted tree, so that a test sees from outside what the plugin did.
"""

from __future__ import annotations

import json
from pathlib import Path

_CONFIG = """\
id: 9f3b2f0e-6c40-4a55-8d3a-8c1f6c0a7d10
name: Trees
pluginType: DIRECT
hostTypes: [UNIX]
language: PYTHON311
entryPoint: "trees:plugin"
srcDir: src
schemaFile: schema.json
buildNumber: "1.0"
"""

_CODE = """\
from dlpx.virtualization import libs
from dlpx.virtualization.platform import *
from generated.definitions import *

plugin = Plugin()


def run(connection, script, **variables):
    return libs.run_bash(connection, "set -e; " + script, variables, check=True).stdout.strip()


@plugin.discovery.repository()
def repositories(source_connection):
    return [RepositoryDefinition(name="trees")]


@plugin.discovery.source_config()
def source_configs(source_connection, repository):
    found = run(source_connection, "ls -d @PLACE@/*/")
    return [SourceConfigDefinition(path=line.rstrip("/")) for line in found.splitlines()]


@plugin.linked.pre_snapshot()
def pre_snapshot(direct_source, repository, source_config):
    libs.run_sync(direct_source.connection, source_config.path)


@plugin.linked.post_snapshot()
def post_snapshot(direct_source, repository, source_config):
    return SnapshotDefinition(rows=int(run(direct_source.connection, "ls %s | wc -l" % source_config.path)))


@plugin.virtual.mount_specification()
def mounts(virtual_source, repository):
    return MountSpecification([Mount(virtual_source.connection.environment, virtual_source.parameters.path)])


@plugin.virtual.configure()
def configure(virtual_source, snapshot, repository):
    return start_service(virtual_source)


@plugin.virtual.reconfigure()
def reconfigure(virtual_source, repository, source_config, snapshot):
    return start_service(virtual_source)


@plugin.virtual.initialize()
def initialize(virtual_source, repository):
    return start_service(virtual_source)


def start_service(virtual_source):
    path = virtual_source.parameters.path
    run(virtual_source.connection, "date >%s/RUNNING" % path)
    return SourceConfigDefinition(path=path)


@plugin.virtual.start()
def start(virtual_source, repository, source_config):
    start_service(virtual_source)


@plugin.virtual.stop()
def stop(virtual_source, repository, source_config):
    run(virtual_source.connection, "rm -f %s/RUNNING" % source_config.path)


@plugin.virtual.unconfigure()
def unconfigure(virtual_source, repository, source_config):
    stop(virtual_source, repository, source_config)


@plugin.virtual.status()
def status(virtual_source, repository, source_config):
    there = "test -e %s/RUNNING && echo yes || true" % source_config.path
    return Status.ACTIVE if run(virtual_source.connection, there) else Status.INACTIVE


@plugin.virtual.post_snapshot()
def virtual_post_snapshot(virtual_source, repository, source_config):
    return SnapshotDefinition(rows=int(run(virtual_source.connection, "ls %s | wc -l" % source_config.path)))
"""

_PATH = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path"],
    "properties": {"path": {"type": "string"}},
    "identityFields": ["path"],
    "nameField": "path",
}
_SCHEMA = {
    "repositoryDefinition": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}},
        "identityFields": ["name"],
        "nameField": "name",
    },
    "sourceConfigDefinition": _PATH,
    "linkedSourceDefinition": {"type": "object", "additionalProperties": False, "properties": {}},
    "virtualSourceDefinition": _PATH,
    "snapshotDefinition": {"type": "object", "properties": {"rows": {"type": "integer"}}},
}


def write_trees(directory: Path, place: Path) -> Path:
    """Write the plugin into ``directory``; it finds the directories below ``place``."""
    (directory / "src").mkdir(parents=True)
    (directory / "plugin_config.yml").write_text(_CONFIG)
    (directory / "schema.json").write_text(json.dumps(_SCHEMA))
    (directory / "src" / "trees.py").write_text(_CODE.replace("@PLACE@", str(place)))
    return directory
