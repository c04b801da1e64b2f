"""What the engine's Python API for dSources and for VDBs has in common.

A method looks up what a person named, refuses what cannot be, and asks for a job; what the job does is in the
workflows. Methods that ask for a job give back its reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dlpx_remote.environments.model import Environment
from dlpx_remote.environments.registry import Registry
from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.jobs.inline import InlineJob
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.plugins.config import PluginConfig
from dlpx_remote.plugins.plugin import Plugin, load_plugin
from dlpx_remote.redaction import redact
from dlpx_remote.workflows import hook_records, linked, virtual
from dlpx_remote.workflows.attaching import mount_locks
from dlpx_remote.workflows.holding import all_locks_of, locks_of, snapshots_of
from dlpx_remote.workflows.hook_records import HookRecords
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.parameters import KindOf
from dlpx_remote.workflows.plugins import Plugins
from dlpx_remote.workflows.removal import dependants, in_use
from dlpx_remote.workflows.rooms import Rooms
from dlpx_remote.workflows.scheduling import ScheduleRecords, StatusCheck
from dlpx_remote.workflows.source_records import SourceRecords
from dlpx_remote.workflows.sources import DISABLED, ENABLED, Hook, Kind, Source, WrongState
from dlpx_remote.workflows.views import SourceView, Views


@dataclass(frozen=True)
class Parts:
    """What this API is made of.

    Attributes:
        rooms: opens what the workflows call.
        jobs: who runs them.
        registry: environments.
        plugins: those that were added.
        inventory: repositories and source configs.
        records: dSources, VDBs and snapshots.
        hooks: hooks and templates.
        kind_of: what a named credential is.
        schedules: schedules, and what status checks found.
    """

    rooms: Callable[[], Rooms]
    jobs: Jobs
    registry: Registry
    plugins: Plugins
    inventory: Inventory
    records: SourceRecords
    hooks: HookRecords
    kind_of: KindOf
    schedules: ScheduleRecords


@dataclass(frozen=True)
class Asked:
    """How a job is asked for.

    Attributes:
        detach: leave it to a worker instead of running it in this process.
        wait: queue behind a job that holds what it needs, instead of refusing.
    """

    detach: bool = False
    wait: bool = True


NOW = Asked()
"""In this process, as soon as nobody else holds what the job needs."""


class Sources:
    """What dSources and VDBs have in common."""

    _kind: Kind
    _word: str

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._views = Views(parts.records, parts.inventory, parts.registry.get)

    def all(self) -> list[SourceView]:
        """All of them, by name."""
        return [self._views.of(source) for source in self._parts.records.all(self._kind)]

    def get(self, name: str) -> SourceView:
        """By name or reference; NotFound names the nearest known one."""
        return self._views.of(self._find(name))

    def status(self, name: str, on_line: Callable[[str], None] | None = None) -> str:
        """``ACTIVE`` or ``INACTIVE``, asked of the plugin now; what is not enabled is INACTIVE.

        Args:
            name: name or reference.
            on_line: takes each line that the plugin prints.
        """
        source = self._find(name)
        try:
            found = self._ask_status(source, on_line)
        except RemoteError as error:
            self._keep(source, "UNKNOWN", str(error))
            raise
        self._keep(source, found)
        return found

    def check(self, name: str, asked_by: str) -> StatusCheck:
        """The same for a schedule: what cannot be asked is ``UNKNOWN``, and says why."""
        source = self._find(name)
        try:
            found, error = self._ask_status(source, None), ""
        except RemoteError as failed:
            found, error = "UNKNOWN", str(failed)
        return self._keep(source, found, error, asked_by)

    def _ask_status(self, source: Source, on_line: Callable[[str], None] | None) -> str:
        work = linked.status if self._kind == "dsource" else virtual.status
        job = InlineJob("status")
        try:
            return str(work(self._parts.rooms(), job, {"source": source.reference})["status"])
        finally:
            for line in job.lines if on_line is not None else ():
                on_line(line)  # type: ignore[misc]

    def size(self, name: str, on_line: Callable[[str], None] | None = None) -> int:
        """Bytes of its data, asked of the plugin now, and remembered.

        Args:
            name: name or reference.
            on_line: takes each line that the plugin prints.

        Raises:
            WrongState: it is not enabled, or has no data yet.
            SizeUnknown: its plugin does not say how large it is.
        """
        source = self._find(name)
        work = linked.size if self._kind == "dsource" else virtual.size
        job = InlineJob("size")
        try:
            return int(work(self._parts.rooms(), job, {"source": source.reference})["size"])
        finally:
            for line in job.lines if on_line is not None else ():
                on_line(line)  # type: ignore[misc]

    def _keep(self, source: Source, status: str, error: str = "", asked_by: str = "") -> StatusCheck:
        check = StatusCheck(datetime.now(UTC), status, redact(error), asked_by)
        self._parts.schedules.record_status(source.reference, check)
        return check

    def dependants(self, name: str) -> list[str]:
        """What deleting it with ``force`` takes along, each as ``the VDB masked``; the last made first."""
        return [str(each) for each in dependants(self._parts.records, self._find(name))]

    def delete(
        self, name: str, *, force: bool = False, hooks: Sequence[Hook] = (), asked: Asked = NOW
    ) -> str:
        """Delete it.

        Args:
            name: name or reference.
            force: take along what depends on it, and go on where a host or the plugin fails.
            hooks: for this run.
            asked: how.

        Raises:
            SourceInUse: something depends on it; only without ``force``.
        """
        source = self._find(name)
        found = dependants(self._parts.records, source)
        if found and not force:
            raise in_use(f"The {self._word} {source.name}", found)
        also = [snapshots_of(source.reference), *(lock for each in found for lock in all_locks_of(each))]
        return self._ask("delete", source, {"force": force}, hooks, asked, also=also)

    def _find(self, name: str) -> Source:
        return self._parts.records.get(name, self._kind)

    def _ask(
        self,
        operation: str,
        source: Source,
        request: Mapping[str, Any],
        hooks: Sequence[Hook],
        asked: Asked,
        *,
        state: str | None = None,
        also: Sequence[str] = (),
        shares: Sequence[str] = (),
    ) -> str:
        """Ask for a job on a known dSource or VDB."""
        if state is not None and source.state != state:
            how = "enable" if state == ENABLED else "disable"
            raise WrongState(
                f"The {self._word} {source.name} is {source.state}, not {state}.",
                f"First: dlpx-remote {self._kind} {how} {source.name}."
                if source.state in (ENABLED, DISABLED)
                else f"Delete it: dlpx-remote {self._kind} delete {source.name} --force.",
            )
        self._check_hooks(source, hooks)
        return self._parts.jobs.submit(
            f"{self._kind} {operation}",
            {"source": source.reference, **request, "hooks": self._complete(hooks)},
            f"{operation} the {self._word} {source.name}",
            object=source.name,
            locks=[*locks_of(source), *mount_locks(source.current, self._parts.registry.get), *also],
            shares=shares,
            hosts=[source.place[0]],
            wait=asked.wait,
            detach=asked.detach,
        )

    def _ask_for_new(
        self, operation: str, request: dict[str, Any], title: str, asked: Asked, *, shares: Sequence[str] = ()
    ) -> str:
        """Ask for a job that makes a dSource or VDB."""
        self._parts.records.require_free(request["name"])
        return self._parts.jobs.submit(
            f"{self._kind} {operation}",
            request,
            title,
            object=request["name"],
            locks=[f"name {request['name']}"],
            shares=shares,
            hosts=[request.get("staging_environment") or request["environment"]],
            wait=asked.wait,
            detach=asked.detach,
        )

    def _check_hooks(self, source: Source, hooks: Sequence[Hook]) -> None:
        for hook in hooks:
            hook_records.check(source, hook)

    def _complete(self, hooks: Sequence[Hook]) -> list[dict[str, Any]]:
        return [hook.to_json() for hook in self._parts.hooks.complete(hooks)]

    def _new_hooks(self, hooks: Sequence[Hook]) -> list[dict[str, Any]]:
        """Hooks for a new object; those that run a template stay so."""
        for hook in hooks:
            hook_records.check_for(self._kind, hook)
        self._parts.hooks.complete(hooks)
        return [hook.to_json() for hook in hooks]

    def _plugin(self, identifier: str) -> Plugin:
        return load_plugin(self._parts.plugins.get_summary(identifier).directory)

    def _environment(self, name: str, config: PluginConfig) -> Environment:
        environment = self._parts.registry.get(name)
        if environment.host_type.value not in config.host_types:
            raise InvalidRequest(
                f"The plugin {config.name} is for {' and '.join(config.host_types)} hosts, "
                f"and {environment.name} is a {environment.host_type.value} host.",
                "Choose another environment.",
            )
        return environment
