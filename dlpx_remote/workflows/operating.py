"""What the engine operations on one dSource or VDB share: its plugin, its hooks, its volume and its mounts.

Every method that has an effect makes a step of its own of the job, so that a workflow which calls them in the
order of the table of engine operations reads like that table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from dlpx.virtualization.platform.operation_table import ArgumentKind, operations_for
from dlpx_remote.environments.registry import user_by_reference
from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs.base import Job, JobCancelled, Request
from dlpx_remote.operations.dispatcher import Dispatcher
from dlpx_remote.operations.library import LibraryCalls
from dlpx_remote.redaction import redact
from dlpx_remote.transports.abort import Abort
from dlpx_remote.workflows import hooks as hook_scripts
from dlpx_remote.workflows.attaching import mount_locks
from dlpx_remote.workflows.discovery import SOURCE_CONFIG, wire_connection
from dlpx_remote.workflows.holding import all_locks_of
from dlpx_remote.workflows.parameters import LINKED, SNAPSHOT, VIRTUAL, resolved, shown
from dlpx_remote.workflows.rooms import Rooms
from dlpx_remote.workflows.source_records import TAKING, newest_of
from dlpx_remote.workflows.sources import (
    DISABLED,
    ENABLED,
    Footing,
    Hook,
    SizeUnknown,
    Snapshot,
    Source,
    WrongState,
)

_LOG = logging.getLogger(__name__)


class Operation:
    """One engine operation on one dSource or VDB. Close it, or use it as a context manager.

    Args:
        rooms: what it calls.
        job: what its steps belong to.
        reference: of the dSource or VDB.
        request: of the job, for the hooks given for this run.

    Attributes:
        job: as given.
        standing_on: what the source is about to stand on, for its hooks; None for ``source.current``.
        source: as it was when the operation began, with what this operation has put in force since.
        snapshot: what the plugin said of the snapshot that the present state came from; None for none.
        previous_snapshot: the same of the state before the last refresh or rollback.
        snapshots: those of the source, oldest first.
    """

    def __init__(self, rooms: Rooms, job: Job, reference: str, request: Request | None = None) -> None:
        self.job = job
        self.standing_on: Footing | None = None
        self._rooms = rooms
        known = job.step(f"read what is known of {reference}", lambda: self._read(reference))
        self.source = Source.from_json(known["source"])
        self.snapshot: Mapping[str, Any] | None = known["snapshot"]
        self.previous_snapshot: Mapping[str, Any] | None = known["previous_snapshot"]
        self._repository: Mapping[str, Any] = known["repository"]
        self._source_config: Mapping[str, Any] | None = known["source_config"]
        self.snapshots = [Snapshot(**each) for each in known["snapshots"]]
        self._hooks = [Hook.from_json(hook) for hook in known["hooks"]]
        self._run_hooks = [Hook.from_json(hook) for hook in (request or {}).get("hooks") or ()]
        self._connections: dict[tuple[str, str], dict[str, Any]] = {}
        self._plugin = rooms.plugin(self.source.plugin)
        self._table = operations_for(self._plugin.config.plugin_type)
        self._session: Dispatcher | None = None
        self._library: LibraryCalls | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the plugin's process. Idempotent."""
        if self._session is not None:
            self._session.close()
            self._session = None

    # what must be

    @property
    def extended_hooks(self) -> bool:
        """Whether start and stop hooks run on enable and disable too."""
        return self._plugin.config.extended_start_stop_hooks

    def require(self, *states: str) -> None:
        """Raise WrongState unless the source is in one of ``states``."""
        source = self.source
        if source.state in states:
            return
        word, command = ("dSource", "dsource") if source.kind == "dsource" else ("VDB", "vdb")
        how = {
            DISABLED: f"Enable it first: dlpx-remote {command} enable {source.name}.",
            ENABLED: f"Disable it first: dlpx-remote {command} disable {source.name}.",
        }.get(source.state, f"Delete it: dlpx-remote {command} delete {source.name} --force.")
        raise WrongState(f"The {word} {source.name} is {source.state}.", how)

    def expect(self, steps: int, *events: str) -> None:
        """Tell the job how many steps there will be: so many, and the hooks of these points."""
        hooks = [
            each for event in events for each in hook_scripts.select(event, self._hooks, self._run_hooks)
        ]
        self.job.expect(steps + len(hooks))

    # plugin operations and hooks

    def plugin(self, operation: str, footing: Footing | None = None, **more: Any) -> Any:
        """Run a plugin operation, once; what is optional and missing gives None.

        Args:
            operation: for example ``virtual.configure``.
            footing: what the source stands on while it runs; None for ``source.current``.
            more: arguments beside the source, the repository and the source config.
        """
        standing = footing or self.source.current
        wanted = {argument.name: argument for argument in self._table[operation].arguments}
        arguments: dict[str, Any] = {}
        for name, argument in wanted.items():
            if argument.kind is ArgumentKind.REPOSITORY:
                arguments[name] = self._repository
            elif argument.kind is ArgumentKind.SOURCE_CONFIG:
                arguments[name] = standing.source_config or self._source_config
            elif argument.kind in _SOURCES:
                arguments[name] = self._wire_source(standing)
        arguments |= {name: value for name, value in more.items() if name in wanted}
        return self.job.once(
            f"{operation} of {self.source.plugin_name}", lambda: self._call(operation, arguments)
        )

    def run_hooks(self, event: str) -> None:
        """Run the hooks of one point, each once: the object's own, then those given for this run."""
        hooks = hook_scripts.select(event, self._hooks, self._run_hooks)
        if not hooks:
            return
        environment, user = self.source.place
        source = replace(self.source, current=self.standing_on or self.source.current)

        def run(hook: Hook) -> None:
            connection = self._rooms.connections.connection(environment, user)
            abort = Abort()
            with self.job.on_cancel(abort.ask):
                hook_scripts.run(hook, source, connection, self.job.reference, self.job.log, abort=abort)

        for hook in hooks:
            self.job.once(f"{event} hook {hook.name}", partial(run, hook))

    # mounts

    def specify_mounts(self, footing: Footing) -> Footing:
        """Ask the plugin where ``footing`` is to be mounted."""
        group = "linked" if self.source.kind == "dsource" else "virtual"
        return footing.with_mounts(self.plugin(f"{group}.mount_specification", footing))

    def mount(self, footing: Footing) -> None:
        """Export and mount it as it was specified, and set ownership; nothing where that is in force."""
        source = self.source
        where = ", ".join(sorted({mount.mount_path for mount in footing.mounts})) or "no path"

        def attach() -> None:
            # Known to be this job's own already, unless the plugin has just said another place.
            self.job.hold(*mount_locks(footing, self._rooms.environment))
            mounted = self._rooms.attaching.attach(
                source,
                footing,
                self._rooms.pool.path(footing.volume),
                root_squash=self._plugin.config.root_squash_enabled,
                job=self.job.reference,
            )
            self._remark(remark for each in mounted for remark in each.remarks)

        self.job.step(f"mount {footing.volume} at {where}", attach)

    def unmount(self, footing: Footing, *, force: bool = False) -> None:
        """Take its mounts and exports away."""

        def detach() -> None:
            self._remark(self._rooms.attaching.detach(footing.volume, force=force, job=self.job.reference))

        self.job.step(f"unmount {footing.volume}", detach)

    def mounted(self) -> bool:
        """Whether the mounts that were specified last are in force."""
        source = self.source
        return self.job.step(
            f"see whether {source.current.volume} is mounted",
            lambda: self._rooms.attaching.in_force(source, source.current),
        )

    # volumes and snapshots

    def create_volume(self, name: str) -> None:
        """Make an empty data set."""
        self.job.step(
            f"make the data set {name}",
            lambda: _nothing(self._rooms.pool.create(name, job=self.job.reference)),
        )

    def clone(self, snapshot: str, name: str) -> None:
        """Make a volume with the state of a snapshot."""
        self.job.step(
            f"clone {snapshot} as {name}",
            lambda: _nothing(self._rooms.pool.clone(snapshot, name, job=self.job.reference)),
        )

    def delete_volume(self, name: str) -> None:
        """Remove a volume."""
        self.job.step(f"remove {name}", lambda: self._rooms.pool.delete(name))

    def take_snapshot(self, parameters: Mapping[str, Any] | None = None) -> Snapshot:
        """Keep the present state; it counts once :meth:`keep_snapshot` has the plugin's word on it."""
        source, job = self.source, self.job
        snapshot = Snapshot(
            **job.step(
                "record the snapshot",
                lambda: self._rooms.records.new_snapshot(source, parameters, job.reference).to_json(),
            )
        )
        self.snapshots.append(snapshot)
        job.step(
            f"snapshot {snapshot.source_volume} as {snapshot.reference}",
            lambda: _nothing(
                self._rooms.pool.snapshot(snapshot.source_volume, snapshot.reference, job=job.reference)
            ),
        )
        return snapshot

    def keep_snapshot(self, snapshot: Snapshot, value: Mapping[str, Any]) -> None:
        """The snapshot is whole, and this is what the plugin said of it."""
        kept = shown(self._plugin, SNAPSHOT, dict(value))
        self.job.step(
            f"keep {snapshot.reference}", lambda: self._rooms.records.keep_snapshot(snapshot.reference, kept)
        )

    def drop_unfinished_snapshot(self) -> None:
        """Remove the snapshot that this job has begun, if there is one."""
        self.job.step("remove the unfinished snapshot", self._drop_unfinished)
        self.snapshots = [each for each in self.snapshots if each.state != TAKING]

    def next_volume(self) -> str:
        """The name of the volume that the next state of the source will have."""
        return f"{self.source.reference}.{self.source.generation + 1}"

    def value_of(self, snapshot: str) -> Mapping[str, Any]:
        """What the plugin said of a snapshot."""
        value: Mapping[str, Any] = self.job.step(
            f"read {snapshot}", lambda: dict(self._rooms.records.ready(snapshot).value or {})
        )
        return value

    # records

    def problems(self, definition: str, value: Any) -> list[str]:
        """What is wrong with a value, by the plugin's schema."""
        return self._plugin.schema.validate(definition, value)

    def kept_source_config(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """A source config of the plugin's as it may be kept: without secrets."""
        return dict(shown(self._plugin, SOURCE_CONFIG, dict(value)))

    def keep_source_config(self, value: Mapping[str, Any]) -> None:
        """The plugin has said what the present state is."""
        current = replace(self.source.current, source_config=self.kept_source_config(value))
        self.record("note the source config", current=current)

    def record_status(self, status: str) -> None:
        """Remember what the plugin said just now."""
        reference = self.source.reference
        self.job.step("note the status", lambda: self._rooms.records.note_status(reference, status))

    def size(self, operation: str) -> int:
        """Ask the plugin how many bytes of data there are, and remember it.

        Raises:
            SizeUnknown: the plugin does not say.
        """
        found: int | None = self.plugin(operation)
        if found is None:
            raise SizeUnknown(
                f"Nobody can say how large {self.source.name} is: its plugin, {self.source.plugin_name}, has "
                f"no {operation}.",
                "What it takes in the pool: dlpx-remote storage list --sizes.",
            )
        size, reference = found, self.source.reference
        self.job.step("note the size", lambda: self._rooms.records.note_size(reference, size))
        return size

    def record(self, title: str, **values: Any) -> None:
        """Set what is known of the source; :attr:`source` has it from then on."""
        reference = self.source.reference
        self.job.step(title, lambda: self._rooms.records.update(reference, **values))
        self.source = replace(self.source, **values)

    def forget(self) -> None:
        """Remove the source from the state, with its snapshots and hooks."""
        reference = self.source.reference
        self.job.step(f"forget {self.source.name}", lambda: self._rooms.records.remove(reference))

    # undoing

    def attempt(self, force: bool, action: Callable[..., object], *arguments: Any, **options: Any) -> None:
        """Do it; where it is forced, go on although it failed."""
        if force:
            self.quietly(action, *arguments, **options)
        else:
            action(*arguments, **options)

    def quietly(self, action: Callable[..., object], *arguments: Any, **options: Any) -> bool:
        """Go on when ``action`` fails, having said why; for undoing, and for what is forced."""
        try:
            action(*arguments, **options)
        except JobCancelled:
            raise  # before anything is undone; afterwards nothing raises it
        except Exception as error:
            self.job.log(redact(f"Could not be undone or ended properly: {_words(error)}"))
            _LOG.info("%s: went on after %s", self.job.reference, error)
            return False
        return True

    # inside steps

    def _read(self, reference: str) -> dict[str, Any]:
        records = self._rooms.records
        source = records.get(reference)
        repository, source_config = self._rooms.inventory.parameters(source.repository, source.source_config)
        hooks = self._rooms.hooks.complete(self._rooms.hooks.of(source.reference))
        return {
            "source": source.to_json(),
            "repository": repository,
            "source_config": source_config,
            "snapshot": self._snapshot_value(source, source.current),
            "previous_snapshot": None
            if source.previous is None
            else self._snapshot_value(source, source.previous),
            "snapshots": [each.to_json() for each in records.snapshots(source.reference)],
            "hooks": [hook.to_json() for hook in hooks],
        }

    def _snapshot_value(self, source: Source, footing: Footing) -> Mapping[str, Any] | None:
        """What the plugin said of the newest snapshot of a volume, else of the one that it came from."""
        newest = newest_of(self._rooms.records.snapshots(source.reference), footing.volume)
        if newest is not None:
            return newest.value
        return None if footing.origin is None else self._rooms.records.snapshot(footing.origin).value

    def _drop_unfinished(self) -> None:
        records = self._rooms.records
        for snapshot in records.unfinished(self.source.reference, self.job.reference):
            self._rooms.pool.delete(snapshot.reference)
            records.remove_snapshot(snapshot.reference)

    def _call(self, operation: str, arguments: dict[str, Any]) -> Any:
        session = self._running_session()
        definition = LINKED if self.source.kind == "dsource" else VIRTUAL
        complete = resolved(self._plugin, definition, self.source.parameters, self._rooms.resolve)
        for supplier, credentials in complete.suppliers:
            assert self._library is not None  # noqa: S101 - for the type checker
            self._library.hand_out(supplier, credentials)
        abort = Abort()
        with self.job.on_cancel(abort.ask):
            handed: dict[str, Any] = {
                name: {**value, "parameters": complete.values} if name in _SOURCE_NAMES else value
                for name, value in arguments.items()
            }
            return session.run(operation, abort=abort, **handed)

    def _running_session(self) -> Dispatcher:
        if self._session is None:
            data_set = None
            if self.source.kind == "dsource" and not self.source.staged:
                data_set = self._rooms.pool.path(self.source.current.volume)
            self._library = LibraryCalls(self._rooms.connections, data_set=data_set)
            self._session = Dispatcher(
                self._rooms.workers,
                self._plugin,
                self._library,
                job=self.job.reference,
                on_log=lambda line: self.job.log(line.message),
            )
        return self._session

    def _remark(self, remarks: Any) -> None:
        for remark in remarks:
            self.job.log(remark)

    # values for the plugin

    def _wire_source(self, footing: Footing) -> dict[str, Any]:
        source = self.source
        connection = self._connection(source.environment, source.user)
        wire: dict[str, Any] = {"guid": source.guid, "parameters": {}}
        if source.kind == "vdb":
            return {**wire, "connection": connection, "mounts": self._wire_mounts(footing)}
        if source.staging_environment is None or source.staging_user is None:
            return {**wire, "connection": connection}
        staged = self._connection(source.staging_environment, source.staging_user)
        mounts = self._wire_mounts(footing)
        several = len(mounts) > 1
        return {
            **wire,
            "source_connection": connection,
            "staged_connection": staged,
            "mount": None if several or not mounts else mounts[0],
            "mounts": mounts if several else None,
        }

    def _wire_mounts(self, footing: Footing) -> list[dict[str, Any]]:
        known = {
            connection["environment"]["reference"]: connection["environment"]
            for connection in self._connections.values()
        }
        return [
            {
                "environment": known.get(mount.environment, mount.environment),
                "mount_path": mount.mount_path,
                "shared_path": mount.shared_path,
            }
            for mount in footing.mounts
        ]

    def _connection(self, environment: str, user: str) -> dict[str, Any]:
        """The connection as the plugin is handed it; made ready when it is needed first."""
        if (environment, user) not in self._connections:
            self._connections[environment, user] = self.job.step(
                f"prepare {environment} for {user}", lambda: self._prepare(environment, user)
            )
        return self._connections[environment, user]

    def _prepare(self, environment: str, user: str) -> dict[str, Any]:
        found = self._rooms.environment(environment)
        account = user_by_reference(found, user)
        return wire_connection(found, self._rooms.prepare(found, account), account)


def record_source(rooms: Rooms, job: Job, request: Request) -> Source:
    """The record of a new dSource or VDB, with its hooks.

    Request: see :meth:`SourceRecords.create`, and ``hooks``.
    """

    def record() -> dict[str, Any]:
        source = rooms.records.create(request, job.reference)
        job.hold(*all_locks_of(source))  # nothing is made from it before it is whole
        known = {hook.name for hook in rooms.hooks.of(source.reference)}
        try:
            for hook in request.get("hooks") or ():
                if hook["name"] not in known:
                    rooms.hooks.add(source, Hook.from_json(hook))
        except Exception:
            rooms.records.remove(source.reference)
            raise
        return source.to_json()

    return Source.from_json(job.step(f"record {request['name']}", record))


def begin_new(rooms: Rooms, job: Job, request: Request) -> Operation:
    """Record a new dSource or VDB, and begin the operation that makes it; where that fails, nothing is left.

    Request: see :func:`record_source`.
    """
    source = record_source(rooms, job, request)
    try:
        return Operation(rooms, job, source.reference)
    except Exception as error:
        job.compensating(error)
        job.step(f"forget {source.name}", lambda: rooms.records.remove(source.reference))
        raise


_SOURCES = (ArgumentKind.DIRECT_SOURCE, ArgumentKind.STAGED_SOURCE, ArgumentKind.VIRTUAL_SOURCE)
_SOURCE_NAMES = ("direct_source", "staged_source", "virtual_source")


def _nothing(_result: object) -> None:
    """Steps give back JSON, and what was made is known by its name."""


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, RemoteError) else f"{type(error).__name__}: {error}"
