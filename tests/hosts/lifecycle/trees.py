"""Plugins for directory trees, a direct and a staged one; both run a "service" in each clone.

The direct one copies with ``run_sync``, the staged one on the staging environment. The service is a file
``RUNNING`` in the mounted tree, and every operation is a line of ``calls`` beside the trees, so that a test
sees from outside what a plugin did. Where there is a file ``hang`` beside them, every script writes its
process number into it and hangs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CONFIG = """\
id: 9f3b2f0e-6c40-4a55-8d3a-8c1f6c0a7d1@NUMBER@
name: @NAME@
pluginType: @TYPE@
hostTypes: [UNIX]
language: PYTHON311
entryPoint: "trees:plugin"
srcDir: src
schemaFile: schema.json
buildNumber: "@BUILD@"
"""

TREES = "9f3b2f0e-6c40-4a55-8d3a-8c1f6c0a7d10"
"""The identifier of the direct one."""

_CODE = """\
from dlpx.virtualization import libs
from dlpx.virtualization.platform import *
from generated.definitions import *

plugin = Plugin()


def note(operation):
    with open("@PLACE@/../calls", "a") as file:
        file.write(operation + "\\n")


def run(connection, script, **variables):
    may_hang = "set -e; test ! -e @PLACE@/../hang || { echo $$ >@PLACE@/../hang; sleep 300; }; "
    return libs.run_bash(connection, may_hang + script, variables, check=True).stdout.strip()


@plugin.discovery.repository()
def repositories(source_connection):
    return [RepositoryDefinition(name="trees")]


@plugin.discovery.source_config()
def source_configs(source_connection, repository):
    found = run(source_connection, "ls -d @PLACE@/*/")
    return [SourceConfigDefinition(path=line.rstrip("/")) for line in found.splitlines()]


@LINKED@

@plugin.virtual.mount_specification()
def mounts(virtual_source, repository):
    note("virtual.mount_specification")
    return MountSpecification([Mount(virtual_source.connection.environment, virtual_source.parameters.path)])


@plugin.virtual.configure()
def configure(virtual_source, snapshot, repository):
    note("virtual.configure")
    return start_service(virtual_source)


@plugin.virtual.reconfigure()
def reconfigure(virtual_source, repository, source_config, snapshot):
    note("virtual.reconfigure")
    return start_service(virtual_source)


@plugin.virtual.initialize()
def initialize(virtual_source, repository):
    note("virtual.initialize")
    return start_service(virtual_source)


def start_service(virtual_source):
    path = virtual_source.parameters.path
    run(virtual_source.connection, "date >%s/RUNNING" % path)
    return SourceConfigDefinition(path=path)


@plugin.virtual.start()
def start(virtual_source, repository, source_config):
    note("virtual.start")
    start_service(virtual_source)


@plugin.virtual.stop()
def stop(virtual_source, repository, source_config):
    note("virtual.stop")
    end_service(virtual_source, source_config)


def end_service(virtual_source, source_config):
    run(virtual_source.connection, "rm -f %s/RUNNING" % source_config.path)


@plugin.virtual.unconfigure()
def unconfigure(virtual_source, repository, source_config):
    note("virtual.unconfigure")
    end_service(virtual_source, source_config)


@plugin.virtual.status()
def status(virtual_source, repository, source_config):
    note("virtual.status")
    there = "test -e %s/RUNNING && echo yes || true" % source_config.path
    return Status.ACTIVE if run(virtual_source.connection, there) else Status.INACTIVE


@plugin.virtual.source_size()
def virtual_source_size(virtual_source, repository, source_config):
    return size_of(virtual_source.connection, source_config.path)


def size_of(connection, path):
    return int(run(connection, "cat $(find %s -type f) | wc -c" % path))


@plugin.virtual.post_snapshot()
def virtual_post_snapshot(virtual_source, repository, source_config):
    note("virtual.post_snapshot")
    return SnapshotDefinition(rows=int(run(virtual_source.connection, "ls %s | wc -l" % source_config.path)))
"""

_DIRECT = """
@plugin.linked.pre_snapshot()
def pre_snapshot(direct_source, repository, source_config):
    note("linked.pre_snapshot")
    libs.run_sync(direct_source.connection, source_config.path)


@plugin.linked.post_snapshot()
def post_snapshot(direct_source, repository, source_config):
    note("linked.post_snapshot")
    return SnapshotDefinition(rows=int(run(direct_source.connection, "ls %s | wc -l" % source_config.path)))

"""
_STAGED = """
@plugin.linked.source_size()
def source_size(staged_source, repository, source_config):
    return size_of(staged_source.staged_connection, staged_source.mount.mount_path)


@plugin.linked.mount_specification()
def staged_mounts(staged_source, repository):
    note("linked.mount_specification")
    place = staged_source.staged_connection.environment
    return MountSpecification([Mount(place, staged_source.parameters.path)])


@plugin.linked.pre_snapshot()
def pre_snapshot(staged_source, repository, source_config, snapshot_parameters):
    note("linked.pre_snapshot")
    start_staging_of(staged_source)
    script = "cp -a %s/. %s/" % (source_config.path, staged_source.mount.mount_path)
    run(staged_source.staged_connection, script)


def start_staging_of(staged_source):
    run(staged_source.staged_connection, "date >%s/STAGING" % staged_source.mount.mount_path)


@plugin.linked.post_snapshot()
def post_snapshot(staged_source, repository, source_config, snapshot_parameters):
    note("linked.post_snapshot")
    count = run(staged_source.source_connection, "ls %s | wc -l" % source_config.path)
    return SnapshotDefinition(rows=int(count))


@plugin.linked.start_staging()
def start_staging(staged_source, repository, source_config):
    note("linked.start_staging")
    start_staging_of(staged_source)


@plugin.linked.stop_staging()
def stop_staging(staged_source, repository, source_config):
    note("linked.stop_staging")
    run(staged_source.staged_connection, "rm -f %s/STAGING" % staged_source.mount.mount_path)


@plugin.linked.status()
def staged_status(staged_source, repository, source_config):
    note("linked.status")
    there = "test -e %s/STAGING && echo yes || true" % staged_source.mount.mount_path
    return Status.ACTIVE if run(staged_source.staged_connection, there) else Status.INACTIVE


@plugin.linked.worker()
def worker(staged_source, repository, source_config):
    note("linked.worker")
    start_staging_of(staged_source)

"""

_MIGRATION = """

@plugin.upgrade.{kind}("2.{number}")
def upgrade_{kind}(old_{kind}):
    return {{**old_{kind}, "round": {number}}}
"""
_MIGRATED = ("repository", "source_config", "linked_source", "virtual_source", "snapshot")

_PATH = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path"],
    "properties": {"path": {"type": "string"}},
    "identityFields": ["path"],
    "nameField": "path",
}
_SCHEMA: dict[str, Any] = {
    "repositoryDefinition": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}},
        "identityFields": ["name"],
        "nameField": "name",
    },
    "sourceConfigDefinition": _PATH,
    "linkedSourceDefinition": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"path": {"type": "string"}},
    },
    "virtualSourceDefinition": _PATH,
    "snapshotDefinition": {"type": "object", "properties": {"rows": {"type": "integer"}}},
}


def write_trees(
    directory: Path,
    place: Path,
    *,
    staged: bool = False,
    extended_hooks: bool = False,
    newer: bool = False,
) -> Path:
    """Write a plugin into ``directory``: ``Trees`` or ``Staged trees``.

    Args:
        directory: made.
        place: it finds the directories below this one, and writes ``calls`` beside it.
        staged: the one that links through staging.
        extended_hooks: start and stop hooks run on enable and disable too.
        newer: a build whose migrations give every stored object a ``round``.
    """
    (directory / "src").mkdir(parents=True)
    words = ("1", "Staged trees", "STAGED") if staged else ("0", "Trees", "DIRECT")
    config = _CONFIG.replace("@BUILD@", "2.0" if newer else "1.0")
    for mark, word in zip(("@NUMBER@", "@NAME@", "@TYPE@"), words, strict=True):
        config = config.replace(mark, word)
    if extended_hooks:
        config += "extendedStartStopHooks: true\n"
    (directory / "plugin_config.yml").write_text(config)
    (directory / "schema.json").write_text(json.dumps(_with_round(_SCHEMA) if newer else _SCHEMA))
    code = _CODE.replace("@LINKED@", _STAGED if staged else _DIRECT).replace("@PLACE@", str(place))
    if newer:
        code += "".join(
            _MIGRATION.format(kind=kind, number=number) for number, kind in enumerate(_MIGRATED, 1)
        )
    (directory / "src" / "trees.py").write_text(code)
    return directory


def _with_round(schema: dict[str, Any]) -> dict[str, Any]:
    """Every definition with one more property."""
    return {
        name: {**definition, "properties": {**definition["properties"], "round": {"type": "integer"}}}
        for name, definition in schema.items()
    }
