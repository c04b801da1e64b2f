"""One operation of a plugin directory, tried on a host: what went in, what the host was asked, what came out.

For a plugin's author. Nothing is kept, and whatever an argument does not say is filled in: the connection is
the host's, and a repository or source config that is not given is discovered first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlpx.virtualization.platform.operation_table import Argument, ArgumentKind, Operation, operations_for
from dlpx_remote.environments.model import EnvironmentSpec
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.operations.library import LibraryCalls
from dlpx_remote.operations.results import ARGUMENT_DEFINITIONS, RESULT_DEFINITIONS
from dlpx_remote.plugins.plugin import Plugin, load_plugin
from dlpx_remote.plugins.problems import did_you_mean
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.plugins.worker.library import LibraryCall, LibraryRefusal, LibraryReply
from dlpx_remote.redaction import redact
from dlpx_remote.transports.ssh.trace import Trace
from dlpx_remote.workflows.discovery import failure_of, new_job, wire_connection
from dlpx_remote.workflows.once import without_state
from dlpx_remote.workflows.recording import RecordingMismatch
from dlpx_remote.workflows.report import Failure

_GUID = "00000000-0000-0000-0000-000000000001"
_SOURCES = (ArgumentKind.DIRECT_SOURCE, ArgumentKind.STAGED_SOURCE, ArgumentKind.VIRTUAL_SOURCE)
_DISCOVERED = {
    ArgumentKind.REPOSITORY: ("repositoryDefinition", "discovery.repository"),
    ArgumentKind.SOURCE_CONFIG: ("sourceConfigDefinition", "discovery.source_config"),
}
_MIGRATIONS = "upgrade"


@dataclass(frozen=True)
class SeenCall:
    """One library call that the plugin made.

    Attributes:
        operation: the plugin operation that made it.
        function: ``run_bash`` and its like.
        script: what was run, redacted; for ``run_sync`` the source directory.
        variables: names of the variables given; their values are secrets.
        exit_code: of the script; None where there is none.
        stdout, stderr: what it printed, redacted.
        failure: why the call itself failed; empty when it did not.
        seconds: how long it took.
    """

    operation: str
    function: str
    script: str
    variables: tuple[str, ...]
    exit_code: int | None
    stdout: str
    stderr: str
    failure: str
    seconds: float


@dataclass(frozen=True)
class TriedOperation:
    """What came of trying an operation.

    Attributes:
        plugin: name of the plugin.
        operation: for example ``virtual.configure``.
        host: name of the host.
        arguments: as the plugin got them, what the schema marks as secret masked.
        result: what it returned, checked and masked; None when it failed or returned nothing.
        failure: why it failed; None when it did not.
        implemented: False where the plugin has no such operation and the engine goes on without it.
        calls: its library calls in order, those of a discovery beforehand included.
        log: lines that the plugin printed or logged.
        seconds: how long the operation took, library calls included.
    """

    plugin: str
    operation: str
    host: str
    arguments: Mapping[str, Any]
    result: Any
    failure: Failure | None
    implemented: bool
    calls: tuple[SeenCall, ...]
    log: tuple[str, ...]
    seconds: float


def try_operation(
    directory: Path,
    operation_name: str,
    host: EnvironmentSpec,
    arguments: Mapping[str, Any],
    secrets: Secrets,
    *,
    on_warning: Callable[[str], None],
    data_set: Path | None = None,
    trace: Trace | None = None,
) -> TriedOperation:
    """Run one operation of the plugin in ``directory`` on ``host``.

    Args:
        directory: the plugin's.
        operation_name: for example ``discovery.repository``.
        host: where connections lead.
        arguments: by the names of the operation; see :meth:`Trials.run`.
        secrets: where passwords come from.
        on_warning: told what a person ought to read although nothing failed.
        data_set: directory that ``libs.run_sync`` copies into; None refuses it.
        trace: told of every stage of connections and commands.

    Raises:
        InvalidRequest: there is no such operation for the plugin's type, or an argument is wrong.
        PluginInvalid: the plugin has errors.
        TransportError: the host cannot be reached. What goes wrong in the plugin is in the result.
    """
    plugin = load_plugin(directory)
    _known(_operation(plugin, operation_name), arguments)
    with trials(plugin, host, secrets, on_warning=on_warning, data_set=data_set, trace=trace) as opened:
        return opened.run(operation_name, arguments)


@contextmanager
def trials(
    plugin: Plugin,
    host: EnvironmentSpec,
    secrets: Secrets,
    *,
    on_warning: Callable[[str], None],
    data_set: Path | None = None,
    trace: Trace | None = None,
    listen: Callable[[LibraryCalls], LibraryCalls] = lambda calls: calls,
) -> Iterator[Trials]:
    """Operations of one plugin on one host, as many as wanted over one connection.

    Args:
        plugin: whose operations.
        host: where connections lead.
        secrets: where passwords come from.
        on_warning: told what a person ought to read although nothing failed.
        data_set: directory that ``libs.run_sync`` copies into; None refuses it.
        trace: told of every stage of connections and commands.
        listen: wraps what answers the library calls of an operation.

    Raises:
        TransportError: the host cannot be reached.
    """
    with without_state([host], secrets, on_warning=on_warning, trace=trace) as look:
        environment = look.environments[0]
        connection = look.connections.connection_of(environment, environment.primary_user)
        wired = wire_connection(environment, look.kept.prepare(environment, connection))
        yield Trials(
            plugin,
            look.workers,
            wired,
            lambda: listen(LibraryCalls(look.connections, data_set=data_set)),
        )


class Trials:
    """See :func:`trials`.

    Args:
        plugin: whose operations.
        workers: for its code.
        connection: as operations are handed it.
        library: makes what answers the library calls of one operation.
    """

    def __init__(
        self,
        plugin: Plugin,
        workers: Workers,
        connection: dict[str, Any],
        library: Callable[[], LibraryCalls],
    ) -> None:
        self.plugin = plugin
        self.connection = connection
        self._workers = workers
        self._library = library

    def run(self, operation_name: str, arguments: Mapping[str, Any]) -> TriedOperation:
        """Run one operation.

        Args:
            operation_name: for example ``virtual.configure``.
            arguments: by the names of the operation; see the module for what may be left out. A source is an
                object with ``parameters`` and, where they matter, ``guid``, ``mount`` and ``mounts`` (paths,
                or objects with ``mount_path``).

        Raises:
            InvalidRequest: there is no such operation for the plugin's type, or an argument is wrong.
        """
        operation = _operation(self.plugin, operation_name)
        _known(operation, arguments)
        return _Trial(self.plugin, operation, self._workers, self.connection, self._library()).run(arguments)


class _Trial:
    def __init__(
        self,
        plugin: Plugin,
        operation: Operation,
        workers: Workers,
        connection: dict[str, Any],
        library: LibraryCalls,
    ) -> None:
        self._plugin = plugin
        self._operation = operation
        self._connection = connection
        self._host: str = connection["environment"]["name"]
        self._log: list[str] = []
        self._watched = _Watched(library)
        self._session = Dispatcher(
            workers,
            plugin,
            self._watched,
            job=new_job("try"),
            on_log=lambda line: self._log.append(redact(line.message)),
        )

    def run(self, given: Mapping[str, Any]) -> TriedOperation:
        complete: dict[str, Any] = {}
        result, failure, implemented, began = None, None, True, time.monotonic()
        with self._session as session:
            try:
                implemented = session.implements(self._operation.name)
                for argument in self._operation.arguments:
                    if argument.name in given or not argument.optional:
                        complete[argument.name] = self._argument(argument, given, complete)
                began = time.monotonic()
                result = self._call(complete)
            except (InvalidRequest, RecordingMismatch):
                raise
            except RemoteError as error:
                failure = failure_of(error)
        return TriedOperation(
            self._plugin.config.name,
            self._operation.name,
            self._host,
            self._masked(complete),
            self._masked_result(result),
            failure,
            implemented,
            tuple(self._watched.seen),
            tuple(self._log),
            time.monotonic() - began,
        )

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        if self._operation.group != _MIGRATIONS:
            return self._session.run(self._operation.name, **arguments)
        (value,) = arguments.values()
        migrated, last = self._session.migrate(self._operation.attribute, value)
        return {"migrated": migrated, "last_migration": last}

    def _argument(self, argument: Argument, given: Mapping[str, Any], complete: Mapping[str, Any]) -> Any:
        value = given.get(argument.name)
        if argument.kind is ArgumentKind.CONNECTION:
            return self._connection
        if argument.kind in _SOURCES:
            return self._source(argument, {} if value is None else value)
        if value is None and argument.kind in _DISCOVERED:
            return self._discovered(argument, complete)
        if value is None and argument.kind in (ArgumentKind.SNAPSHOT, ArgumentKind.MIGRATED_OBJECT):
            return {}
        return value

    def _source(self, argument: Argument, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise InvalidRequest(
                f"{argument.name} must be an object with `parameters`, not {type(value).__name__}.",
                f"Write {argument.name}: {{parameters: {{…}}}} into the file with the arguments.",
            )
        source = {"guid": _GUID, "parameters": {}, **value}
        if argument.kind is ArgumentKind.STAGED_SOURCE:
            source.setdefault("source_connection", self._connection)
            source.setdefault("staged_connection", self._connection)
            if source.get("mount") is not None:
                source["mount"] = self._mount(source["mount"])
        else:
            source.setdefault("connection", self._connection)
        source["mounts"] = [self._mount(mount) for mount in source.get("mounts") or ()] or None
        return source

    def _mount(self, mount: Any) -> dict[str, Any]:
        given = {"mount_path": mount} if isinstance(mount, str) else dict(mount)
        return {"environment": self._connection["environment"], **given}

    def _discovered(self, argument: Argument, complete: Mapping[str, Any]) -> Any:
        """The only repository or source config there is; several are the author's to choose from."""
        definition, operation_name = _DISCOVERED[argument.kind]
        arguments: dict[str, Any] = {"source_connection": self._connection}
        if argument.kind is ArgumentKind.SOURCE_CONFIG:
            repository = complete.get("repository")
            arguments["repository"] = repository if repository is not None else self._only_repository()
        found = self._session.run(operation_name, **arguments)
        if len(found) == 1:
            return found[0]
        names = ", ".join(self._plugin.schema.name(definition, one) for one in found) or "none"
        raise InvalidRequest(
            f"{self._operation.name} needs a {argument.name}, and the plugin discovers {len(found)} "
            f"({names}) on {self._host}.",
            f"Write the one that is meant into the file with the arguments, under {argument.name}.",
        )

    def _only_repository(self) -> Any:
        return self._discovered(Argument("repository", ArgumentKind.REPOSITORY), {})

    def _masked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        shown = dict(arguments)
        for argument in self._operation.arguments:
            value = shown.get(argument.name)
            definition, part = ARGUMENT_DEFINITIONS.get(argument.kind, (None, None))
            if value is None or definition is None:
                continue
            if part is None:
                shown[argument.name] = self._plugin.schema.masked(definition, value)
            else:
                shown[argument.name] = {**value, part: self._plugin.schema.masked(definition, value[part])}
        return shown

    def _masked_result(self, result: Any) -> Any:
        definition = RESULT_DEFINITIONS.get(self._operation.result)
        if definition is None or result is None:
            return result
        if isinstance(result, list):
            return [self._plugin.schema.masked(definition, one) for one in result]
        return self._plugin.schema.masked(definition, result)


class _Watched(LibraryCalls):
    """Library calls, each remembered with what came of it, answered by somebody else."""

    def __init__(self, calls: LibraryCalls) -> None:
        self._calls = calls
        self.seen: list[SeenCall] = []

    def close(self) -> None:
        self._calls.close()

    def handle(self, call: LibraryCall, timeout: float) -> LibraryReply:
        began = time.monotonic()
        try:
            reply = self._calls.handle(call, timeout)
        except LibraryRefusal as refusal:
            self._remember(call, None, redact(refusal.message), time.monotonic() - began)
            raise
        self._remember(call, reply, "", time.monotonic() - began)
        return reply

    def _remember(self, call: LibraryCall, reply: LibraryReply | None, failure: str, seconds: float) -> None:
        secret = call.function in ("retrieve_credentials", "upgrade_password")
        bodies = () if reply is None or secret else reply.bodies
        stdout, stderr = [*(_text(body) for body in bodies), "", ""][:2]
        script = "" if secret else _text(call.body)
        self.seen.append(
            SeenCall(
                call.operation,
                call.function,
                script or str(call.options.get("source_directory", "")),
                tuple(sorted(call.variables)),
                None if reply is None else reply.data.get("exit_code"),
                stdout,
                stderr,
                failure,
                seconds,
            )
        )


def _text(content: bytes) -> str:
    return redact(content.decode("utf-8", "replace"))


def _operation(plugin: Plugin, name: str) -> Operation:
    table = operations_for(plugin.config.plugin_type)
    if name not in table:
        raise InvalidRequest(
            f"There is no plugin operation {name} for {plugin.config.plugin_type.value} plugins.",
            did_you_mean(name, tuple(table)),
        )
    return table[name]


def _known(operation: Operation, arguments: Mapping[str, Any]) -> None:
    names = [argument.name for argument in operation.arguments]
    for name in arguments:
        if name not in names:
            raise InvalidRequest(f"{operation.name} has no argument {name!r}.", did_you_mean(name, names))
