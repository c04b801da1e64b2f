"""All that a worker knows of the SDK: loading a plugin, calling it, and converting values both ways.

Values cross as plain JSON: definitions as objects by their schemas' names, sources and connections as objects
by the SDK's attribute names. Checking a result's type happens here, where its class is known; checking its
values against the schema happens in the engine.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dlpx.virtualization.common import RemoteConnection, RemoteEnvironment, RemoteHost, RemoteUser
from dlpx.virtualization.libs.backend import set_backend
from dlpx.virtualization.platform import (
    DirectSource,
    Mount,
    MountSpecification,
    Plugin,
    StagedSource,
    Status,
    UserError,
    VirtualSource,
)
from dlpx.virtualization.platform.operation_table import (
    ArgumentKind,
    Operation,
    PluginType,
    ResultKind,
    operations_for,
)
from dlpx_remote.plugins.definitions import install_generated
from dlpx_remote.plugins.worker.inside import failures, signatures
from dlpx_remote.plugins.worker.inside.library import EngineBackend
from dlpx_remote.plugins.worker.inside.process import Conversation

_PARAMETER_CLASSES = {
    ArgumentKind.REPOSITORY: "RepositoryDefinition",
    ArgumentKind.SOURCE_CONFIG: "SourceConfigDefinition",
    ArgumentKind.SNAPSHOT: "SnapshotDefinition",
    ArgumentKind.SNAPSHOT_PARAMETERS: "SnapshotParametersDefinition",
}
_RESULT_CLASSES = {
    ResultKind.REPOSITORIES: "RepositoryDefinition",
    ResultKind.SOURCE_CONFIGS: "SourceConfigDefinition",
    ResultKind.SNAPSHOT: "SnapshotDefinition",
    ResultKind.SOURCE_CONFIG: "SourceConfigDefinition",
}
_TRACE_IN_PROBLEM = 16 * 1024


class EntryPointWrong(Exception):
    """The entry point's module was imported, but what it names is not there or no ``Plugin``."""


class SdkAdapter:
    """Runs one plugin that was written for ``dlpx.virtualization``.

    Args:
        start: the ``start`` message: ``plugin_type``, ``entry_point``, ``source_directory``.
        definitions: the plugin's schemas by name.
        conversation: the way to the engine, for library calls.
    """

    operator_error = UserError

    def __init__(
        self, start: Mapping[str, Any], definitions: Mapping[str, dict[str, Any]], conversation: Conversation
    ) -> None:
        self._entry_point: str = start["entry_point"]
        self._root = Path(start["source_directory"])
        self._table = operations_for(PluginType(start["plugin_type"]))
        self._type = PluginType(start["plugin_type"])
        self._plugin: Plugin | None = None
        self._failure: BaseException | None = None
        install_generated(definitions)
        self._classes: dict[str, Any] = dict(vars(sys.modules["generated.definitions"]))
        set_backend(EngineBackend(conversation))

    def inspect(self) -> dict[str, Any]:
        """See ``process.Adapter``."""
        try:
            plugin = self._load()
        except failures.ImportFailed as error:
            return self._import_failure(error.__cause__ or error)
        operations = [self._found(name, function) for name, function in plugin.implementations.items()]
        order = list(self._table)
        operations.sort(
            key=lambda found: order.index(found["name"]) if found["name"] in order else len(order)
        )
        operations += [
            self._found(f"upgrade.{migration.object_type}", migration.function)
            | {"migration_id": migration.migration_id, "migration_type": migration.migration_type.name}
            for migration in plugin.migrations
        ]
        return {"operations": operations, "problems": list(self._problems(plugin))}

    def call(self, operation: str, arguments: dict[str, Any], migration: tuple[str, str] | None) -> Any:
        """See ``process.Adapter``."""
        plugin = self._load()
        entry = self._table.get(operation)
        function = None if entry is None else _function_for(plugin, operation, migration)
        if entry is None or function is None:
            raise failures.NotImplementedByPlugin(operation)
        if entry.takes_migration_id:
            return self._to_wire(entry, function(arguments[entry.arguments[0].name]))
        values = {
            argument.name: self._from_wire(argument.kind, arguments.get(argument.name))
            for argument in entry.arguments
        }
        return self._to_wire(entry, function(**signatures.choose(entry, function, values)))

    # loading

    def _load(self) -> Plugin:
        if self._plugin is not None:
            return self._plugin
        if self._failure is None:
            try:
                self._plugin = self._import()
                return self._plugin
            except BaseException as error:  # a module may raise anything, SystemExit included
                self._failure = error
        raise failures.ImportFailed from self._failure

    def _import(self) -> Plugin:
        module_name, _, object_name = self._entry_point.partition(":")
        module = importlib.import_module(module_name)
        missing = object()
        found = getattr(module, object_name, missing)
        if found is missing:
            plugins = [name for name, value in vars(module).items() if isinstance(value, Plugin)]
            raise EntryPointWrong(
                f"the module {module_name} has no {object_name}"
                + (f"; did you mean {module_name}:{plugins[0]}?" if plugins else ".")
            )
        if not isinstance(found, Plugin):
            raise EntryPointWrong(
                f"{self._entry_point} is {_a(found)}, not a dlpx.virtualization.platform.Plugin."
            )
        return found

    # inspection

    def _found(self, name: str, function: Callable[..., Any]) -> dict[str, Any]:
        file, line = signatures.place_of(function)
        return {
            "name": name,
            "file": self._relative(file),
            "line": line,
            "parameters": signatures.parameters_of(function),
        }

    def _problems(self, plugin: Plugin) -> Iterator[dict[str, Any]]:
        functions = [
            *plugin.implementations.items(),
            *((f"upgrade.{migration.object_type}", migration.function) for migration in plugin.migrations),
        ]
        for name, function in functions:
            entry = self._table.get(name)
            file, line = signatures.place_of(function)
            where = {"file": self._relative(file), "line": line, "place": getattr(function, "__name__", name)}
            if entry is None:
                yield {
                    **where,
                    "severity": "warning",
                    "message": f"{name} is never called: it does not exist for {self._type.value} plugins.",
                }
            elif (complaint := signatures.complaint(entry, function)) is not None:
                yield {
                    **where,
                    "severity": "error",
                    "message": complaint,
                    "hint": _names_hint(entry, function),
                }

    def _import_failure(self, error: BaseException) -> dict[str, Any]:
        file, line = self._entry_file(), None
        trace = ""
        if not isinstance(error, EntryPointWrong):
            trace = failures.trace_of(error, _TRACE_IN_PROBLEM)
            file, line = self._place_of_error(error)
        kind = type(error).__name__
        message = failures.shortened(failures.text_of(error), _TRACE_IN_PROBLEM)
        return {
            "operations": [],
            "problems": [
                {
                    "severity": "error",
                    "file": file,
                    "line": line,
                    "place": f"entryPoint {self._entry_point}",
                    "message": f"The entry point cannot be imported: {kind}: {message}",
                    "hint": f"\n{trace.rstrip()}" if trace else "",
                }
            ],
            "import_failed": kind,
            "import_trace": trace,
        }

    def _place_of_error(self, error: BaseException) -> tuple[str, int | None]:
        """The last line of the plugin's own that the error passed, or the line that is no Python."""
        if isinstance(error, SyntaxError) and error.filename:
            return self._relative(error.filename), error.lineno
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename).is_relative_to(self._root):
                return self._relative(frame.filename), frame.lineno
        return self._entry_file(), None

    def _entry_file(self) -> str:
        return self._entry_point.partition(":")[0].replace(".", "/") + ".py"

    def _relative(self, file: str) -> str:
        path = Path(file)
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else file

    # values

    def _from_wire(self, kind: ArgumentKind, value: Any) -> Any:
        if kind in _PARAMETER_CLASSES:
            return None if value is None else self._classes[_PARAMETER_CLASSES[kind]].from_dict(value)
        if kind is ArgumentKind.CONNECTION:
            return _connection(value)
        if kind is ArgumentKind.DIRECT_SOURCE:
            parameters = self._classes["LinkedSourceDefinition"].from_dict(value["parameters"])
            return DirectSource(value["guid"], _connection(value["connection"]), parameters)
        if kind is ArgumentKind.STAGED_SOURCE:
            mounts = value.get("mounts")
            return StagedSource(
                value["guid"],
                _connection(value["source_connection"]),
                self._classes["LinkedSourceDefinition"].from_dict(value["parameters"]),
                None if value.get("mount") is None else _mount(value["mount"]),
                _connection(value["staged_connection"]),
                None if mounts is None else [_mount(mount) for mount in mounts],
            )
        if kind is ArgumentKind.VIRTUAL_SOURCE:
            return VirtualSource(
                value["guid"],
                _connection(value["connection"]),
                self._classes["VirtualSourceDefinition"].from_dict(value["parameters"]),
                [_mount(mount) for mount in value.get("mounts") or []],
            )
        return value

    def _to_wire(self, operation: Operation, value: Any) -> Any:
        kind = operation.result
        if kind is ResultKind.NONE:
            return None
        if kind in (ResultKind.REPOSITORIES, ResultKind.SOURCE_CONFIGS):
            wanted = self._classes[_RESULT_CLASSES[kind]]
            if not isinstance(value, list):
                raise failures.WrongResult(_a(value), f"a {kind.value}")
            for number, item in enumerate(value, 1):
                if not isinstance(item, wanted):
                    raise failures.WrongResult(f"a list whose item {number} is {_a(item)}", f"a {kind.value}")
            return [item.to_dict() for item in value]
        if kind in _RESULT_CLASSES:
            if not isinstance(value, self._classes[_RESULT_CLASSES[kind]]):
                raise failures.WrongResult(_a(value), f"a {kind.value}")
            return value.to_dict()
        if kind is ResultKind.MOUNT_SPECIFICATION:
            return _mount_specification(value)
        if kind is ResultKind.STATUS:
            if not isinstance(value, Status):
                raise failures.WrongResult(_a(value), "Status.ACTIVE or Status.INACTIVE")
            return value.name
        if kind is ResultKind.SIZE and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            shown = str(value) if type(value) is int else _a(value)
            raise failures.WrongResult(shown, "an int of 0 or more (bytes)")
        if kind is ResultKind.MIGRATED_OBJECT and not isinstance(value, dict):
            raise failures.WrongResult(_a(value), "a dict")
        return value


make_adapter = SdkAdapter


def _function_for(
    plugin: Plugin, operation: str, migration: tuple[str, str] | None
) -> Callable[..., Any] | None:
    if migration is None:
        return plugin.implementations.get(operation)
    for known in plugin.migrations:
        if f"upgrade.{known.object_type}" == operation and migration == (
            known.migration_type.name,
            known.migration_id,
        ):
            return known.function
    return None


def _names_hint(operation: Operation, function: Callable[..., Any]) -> str:
    """Which parameter was most likely meant to be which argument."""
    found = inspect.signature(function).parameters
    known = {name for argument in operation.arguments for name in argument.names}
    absent = [argument.name for argument in operation.arguments if not set(argument.names) & set(found)]
    hints = [
        f"Rename {name} to {near[0]}."
        for name in found
        if name not in known and (near := difflib.get_close_matches(name, absent, n=1, cutoff=0.5))
    ]
    return " ".join(hints) or "Arguments are passed by keyword: the names must match, their order is free."


def _connection(value: Mapping[str, Any]) -> RemoteConnection:
    environment, user = value["environment"], value["user"]
    return RemoteConnection(_environment(environment), RemoteUser(user["name"], user["reference"]))


def _environment(value: Mapping[str, Any]) -> RemoteEnvironment:
    host = value["host"]
    return RemoteEnvironment(
        value["name"],
        value["reference"],
        RemoteHost(host["name"], host["reference"], host["binary_path"], host["scratch_path"]),
    )


def _mount(value: Mapping[str, Any]) -> Mount:
    environment = value["environment"]
    return Mount(
        environment if isinstance(environment, str) else _environment(environment),
        value["mount_path"],
        value.get("shared_path"),
    )


def _mount_specification(value: Any) -> dict[str, Any]:
    if not isinstance(value, MountSpecification):
        raise failures.WrongResult(_a(value), "a MountSpecification")
    ownership = value.ownership_specification
    return {
        "mounts": [
            {
                "environment": mount.remote_environment.reference,
                "mount_path": mount.mount_path,
                "shared_path": mount.shared_path,
            }
            for mount in value.mounts
        ],
        "ownership": None if ownership is None else {"uid": ownership.uid, "gid": ownership.gid},
    }


def _a(value: Any) -> str:
    """The type of what came, as the object of a sentence."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"
