"""A plugin that writes down what it is asked, and does what a test tells it to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DIRECT_ID = "0d1e7f52-53a8-4d8a-9c33-9f0d6f3c1a01"
STAGED_ID = "0d1e7f52-53a8-4d8a-9c33-9f0d6f3c1a02"

_CODE = '''\
import json
from pathlib import Path
from dlpx.virtualization import libs
from dlpx.virtualization.platform import *
from generated.definitions import *

plugin = Plugin()
PLACE = next(str(parent / "recorder") for parent in Path(__file__).parents if (parent / "recorder").is_dir())


def note(operation, **arguments):
    """Writes down the call; gives what the test wants returned instead of the usual."""
    source = arguments.get("source")
    line = {"operation": operation}
    if source is not None:
        line["guid"] = source.guid
        line["parameters"] = source.parameters.to_dict()
        for name in ("mount", "mounts"):
            found = getattr(source, name, None)
            if found is not None:
                several = found if isinstance(found, list) else [found]
                line[name] = [[m.remote_environment.name, m.mount_path, m.shared_path] for m in several]
    for name, value in arguments.items():
        if name != "source":
            line[name] = value.to_dict() if hasattr(value, "to_dict") else value
    with open(PLACE + "/calls", "a") as file:
        file.write(json.dumps(line) + "\\n")
    with open(PLACE + "/orders") as file:
        order = json.load(file).get(operation)
    if order is None:
        return None
    return eval(order, globals(), arguments)


NOTHING = object()  # what an order gives to have None returned


def fail(message="it went wrong", action="mend it", output="what it said"):
    raise UserError(message, action, output)


@plugin.discovery.repository()
def repositories(source_connection):
    found = note("discovery.repository")
    usual = [RepositoryDefinition(name="installation")]
    return usual if found is None else None if found is NOTHING else found


@plugin.discovery.source_config()
def source_configs(source_connection, repository):
    found = note("discovery.source_config")
    usual = [SourceConfigDefinition(name="database")]
    return usual if found is None else None if found is NOTHING else found
@OPERATIONS@
'''

_OPERATION = """

@plugin.{group}.{attribute}()
def {group}_{attribute}({parameters}):
    found = note("{group}.{attribute}", {passed})
    return {usual} if found is None else None if found is NOTHING else found
"""

_VIRTUAL_MOUNT = (
    'MountSpecification([Mount(virtual_source.connection.environment, "/mnt/" + virtual_source.guid)])'
)
_STAGED_MOUNT = 'MountSpecification([Mount(staged_source.staged_connection.environment, "/staging")])'
_STAGED = "staged_source, repository, source_config"
_DIRECT = "direct_source, repository, source_config"
_VIRTUAL = "virtual_source, repository, source_config"
_SNAPSHOT = 'SnapshotDefinition(text="taken")'
_CONFIG = 'SourceConfigDefinition(name="{}")'

OPERATIONS: dict[str, tuple[str, str]] = {
    "virtual.configure": ("virtual_source, snapshot, repository", _CONFIG.format("configured")),
    "virtual.unconfigure": (_VIRTUAL, "None"),
    "virtual.reconfigure": (f"{_VIRTUAL}, snapshot", _CONFIG.format("reconfigured")),
    "virtual.start": (_VIRTUAL, "None"),
    "virtual.stop": (_VIRTUAL, "None"),
    "virtual.pre_snapshot": (_VIRTUAL, "None"),
    "virtual.post_snapshot": (_VIRTUAL, _SNAPSHOT),
    "virtual.mount_specification": ("virtual_source, repository", _VIRTUAL_MOUNT),
    "virtual.status": (_VIRTUAL, "Status.ACTIVE"),
    "virtual.initialize": ("virtual_source, repository", _CONFIG.format("initialized")),
    "virtual.cleanup": (_VIRTUAL, "None"),
    "virtual.source_size": (_VIRTUAL, "4096"),
}
DIRECT = {
    "linked.pre_snapshot": (f"{_DIRECT}, optional_snapshot_parameters", "None"),
    "linked.post_snapshot": (_DIRECT, _SNAPSHOT),
    "linked.source_size": (_DIRECT, "2**40"),
}
STAGED = {
    "linked.pre_snapshot": (f"{_STAGED}, snapshot_parameters", "None"),
    "linked.post_snapshot": (f"{_STAGED}, snapshot_parameters", _SNAPSHOT),
    "linked.start_staging": (_STAGED, "None"),
    "linked.stop_staging": (_STAGED, "None"),
    "linked.status": (_STAGED, "Status.ACTIVE"),
    "linked.worker": (_STAGED, "None"),
    "linked.source_size": (_STAGED, "2**40"),
    "linked.mount_specification": ("staged_source, repository", _STAGED_MOUNT),
}

_NAMED: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "port": {"type": "integer", "minimum": 1}},
    "identityFields": ["name"],
    "nameField": "name",
}
_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "path": {"type": "string"},
        "port": {"type": "integer", "minimum": 1, "default": 5432},
        "secret": {"type": "string", "format": "password"},
        "inner": {"type": "object", "properties": {"deep": {"type": "boolean", "default": True}}},
    },
}
SCHEMA: dict[str, Any] = {
    "repositoryDefinition": _NAMED,
    "sourceConfigDefinition": _NAMED,
    "linkedSourceDefinition": _PARAMETERS,
    "virtualSourceDefinition": _PARAMETERS,
    "snapshotDefinition": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"text": {"type": "string"}},
    },
    "snapshotParametersDefinition": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"resync": {"type": "boolean", "default": False}},
    },
}


def _noted(name: str) -> str:
    if name.endswith("_source"):
        return "source"
    return "snapshot_parameters" if "parameters" in name else name


def write_recorder(
    directory: Path,
    place: Path,
    *,
    staged: bool = False,
    without: tuple[str, ...] = (),
    schema: dict[str, Any] | None = None,
    extended: bool = False,
    name: str | None = None,
    identifier: str | None = None,
) -> Path:
    """Write the plugin into ``directory``.

    Args:
        directory: made when missing.
        place: a directory called ``recorder``, beside one that the plugin is copied into: for ``calls`` (what
            it was asked, a JSON object a line) and ``orders``.
        staged: for staged linking.
        without: operations that it does not implement.
        schema: definitions that differ.
        extended: ``extendedStartStopHooks``.
        name: of the plugin.
        identifier: of the plugin.
    """
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "orders").exists():
        (place / "orders").write_text("{}")
    (directory / "src").mkdir(parents=True)
    parts = []
    for operation, (parameters, usual) in {**(STAGED if staged else DIRECT), **OPERATIONS}.items():
        if operation in without:
            continue
        group, _, attribute = operation.partition(".")
        names = parameters.split(", ")
        passed = ", ".join(f"{_noted(name)}={name}" for name in names)
        parts.append(
            _OPERATION.format(
                group=group, attribute=attribute, parameters=parameters, passed=passed, usual=usual
            )
        )
    code = _CODE.replace("@OPERATIONS@", "".join(parts))
    (directory / "src" / "recorder.py").write_text(code)
    (directory / "schema.json").write_text(json.dumps({**SCHEMA, **(schema or {})}))
    kind = "STAGED" if staged else "DIRECT"
    (directory / "plugin_config.yml").write_text(
        f"id: {identifier or (STAGED_ID if staged else DIRECT_ID)}\n"
        f"name: {name or kind.lower()}\n"
        f"pluginType: {kind}\n"
        "hostTypes: [UNIX]\n"
        'entryPoint: "recorder:plugin"\n'
        "srcDir: src\n"
        "schemaFile: schema.json\n"
        'buildNumber: "1.0"\n'
        "language: PYTHON311\n"
        f"extendedStartStopHooks: {str(extended).lower()}\n"
    )
    return directory
