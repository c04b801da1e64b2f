"""Runs plugin operations of one plugin in one job, as the table of operations says.

What is optional and missing is skipped or has the table's default; what is required and missing fails.
Arguments and results are checked on both sides of the border to the plugin's process: types there, values
here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from dlpx.virtualization.platform.migration_helper import migration_numbers
from dlpx.virtualization.platform.operation_table import Operation, WhenMissing, operations_for
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.operations.library import LibraryCalls
from dlpx_remote.operations.results import check_arguments, check_migrated, check_result
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.plugins.problems import PluginInvalid
from dlpx_remote.plugins.worker import (
    Inspection,
    Limits,
    LogCallback,
    OperationMissing,
    PluginFailed,
    Worker,
    Workers,
)
from dlpx_remote.transports.abort import Abort


class Dispatcher:
    """One plugin in one job. Starts a worker with the first operation, and another one should that be gone.

    Args:
        workers: the engine's.
        plugin: whose operations are run.
        library: answers the plugin's library calls; closed together with this object.
        job: identifies the job in the log.
        limits: what the worker may take.
        on_log: called with each line that the plugin prints or logs.
    """

    def __init__(
        self,
        workers: Workers,
        plugin: Plugin,
        library: LibraryCalls,
        *,
        job: str,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        on_log: LogCallback | None = None,
    ) -> None:
        self._workers = workers
        self._plugin = plugin
        self._library = library
        self._job = job
        self._limits = limits
        self._on_log = on_log
        self._worker: Worker | None = None
        self._table = operations_for(plugin.config.plugin_type)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker. Idempotent."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._library.close()

    def inspect(self, timeout: float | None = None) -> Inspection:
        """What the plugin implements; ``timeout`` in seconds, None takes the limits'."""
        return self._running_worker().inspect(timeout)

    def implements(self, operation_name: str, timeout: float | None = None) -> bool:
        """Whether the plugin has a function for the operation."""
        return self._usable_inspection(operation_name, timeout).operation(operation_name) is not None

    def run(
        self,
        operation_name: str,
        /,
        *,
        timeout: float | None = None,
        abort: Abort | None = None,
        **arguments: Any,
    ) -> Any:
        """Run one plugin operation.

        Args:
            operation_name: for example ``discovery.repository``.
            timeout: seconds, library calls included; None takes the limits'.
            abort: ends it from another thread, with the script that it runs on a host.
            arguments: by the table's names, as plain JSON. ``snapshot_parameters`` may be left out or None.

        Returns:
            The result as plain JSON, checked. None for an operation that returns nothing and for an optional
            one that is missing; ``"ACTIVE"`` for a status that is missing.

        Raises:
            InvalidRequest: an argument is wrong.
            PluginInvalid: the plugin's functions do not fit the table of operations.
            OperationMissing: the operation is needed and the plugin does not implement it.
            PluginUserError, PluginFailed, WrongResult, TooLarge, OperationTimeout, WorkerDied: it failed.
            OperationAborted: its end was asked for while the plugin's own code ran.
            TransportError: the same while it ran a script on a host; it says what became of that.
        """
        operation = self._entry(operation_name)
        check_arguments(self._plugin, operation, arguments)
        with self._aborted_by(abort):
            if not self.implements(operation_name, timeout):
                return self._without(operation)
            result = self._running_worker().call(
                operation_name, arguments, library=self._library, timeout=timeout
            )
        check_result(self._plugin, operation, result)
        return result

    @contextmanager
    def _aborted_by(self, abort: Abort | None) -> Iterator[None]:
        """What runs within the block is ended when ``abort`` is asked; what comes next has a new worker."""
        if abort is None:
            yield
            return
        worker = self._running_worker()
        self._library.abort = abort
        try:
            with abort.wakes(worker.abort):
                yield
        finally:
            self._library.abort = None
            if abort.asked:
                worker.close()
                self._worker = None

    def migrate(
        self,
        object_type: str,
        value: Mapping[str, Any],
        *,
        after: str | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], str | None]:
        """Run the migrations of a stored object, in the order of their ids.

        Args:
            object_type: ``repository``, ``source_config``, ``linked_source``, ``virtual_source`` or
                ``snapshot``.
            value: the object as it was stored.
            after: id of the last migration that was run on it; None runs all of them.
            timeout: seconds for each migration; None takes the limits'.

        Returns:
            The migrated object, which fits the plugin's schema, and the id of the last migration (``after``
            when there was nothing to run).

        Raises:
            PluginUserError, PluginFailed, WrongResult, TooLarge, OperationTimeout, WorkerDied: a migration
                failed, or what the last one returned does not fit the schema. Nothing has been changed.
        """
        operation = self._entry(f"upgrade.{object_type}")
        migrated, last = dict(value), after
        for found in self._usable_inspection(operation.name, timeout).operations:
            if found.name != operation.name or found.migration_type != "PLATFORM":
                continue
            migration_id = str(found.migration_id)
            if after is not None and migration_numbers(migration_id) <= migration_numbers(after):
                continue
            migrated = self._running_worker().call(
                operation.name,
                {operation.arguments[0].name: migrated},
                library=self._library,
                timeout=timeout,
                migration=("PLATFORM", migration_id),
            )
            last = migration_id
        check_migrated(self._plugin, operation, migrated)
        return migrated, last

    def _entry(self, operation_name: str) -> Operation:
        entry = self._table.get(operation_name)
        if entry is None:
            kind = self._plugin.config.plugin_type.value
            raise InvalidRequest(f"There is no plugin operation {operation_name} for {kind} plugins.")
        return entry

    def _running_worker(self) -> Worker:
        if self._worker is not None and not self._worker.alive:
            self._worker.close()
            self._worker = None
        if self._worker is None:
            self._worker = self._workers.start(
                self._plugin, job=self._job, limits=self._limits, on_log=self._on_log
            )
        return self._worker

    def _usable_inspection(self, operation_name: str, timeout: float | None) -> Inspection:
        inspection = self.inspect(timeout)
        if inspection.import_failed:
            problem = inspection.errors[0]
            raise PluginFailed(
                f"The plugin {self._plugin.config.name} cannot be used. {problem.message}",
                f"Correct the plugin; see {problem.location}.",
                inspection.import_trace,
                plugin=self._plugin.config.name,
                operation=operation_name,
                kind=inspection.import_failed,
            )
        if inspection.errors:
            raise PluginInvalid(str(self._plugin.directory), inspection.problems)
        return inspection

    def _without(self, operation: Operation) -> Any:
        if operation.when_missing in (WhenMissing.SKIP, WhenMissing.UNKNOWN):
            return None
        if operation.when_missing is WhenMissing.ACTIVE:
            return "ACTIVE"
        raise OperationMissing(
            f"The plugin {self._plugin.config.name} does not implement {operation.name} ({operation.title}), "
            f"which {' and '.join(operation.engine_operations) or 'the engine'} needs.",
            f"Add a function with the decorator @plugin.{operation.name}() to the plugin.",
            plugin=self._plugin.config.name,
            operation=operation.name,
        )
