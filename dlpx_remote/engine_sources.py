"""The engine's Python API for what is made of source configs: dSources, VDBs, their snapshots and hooks."""

from __future__ import annotations

from collections.abc import Callable

from dlpx_remote.engine_common import NOW, Asked, Parts
from dlpx_remote.engine_dsources import Dsources
from dlpx_remote.engine_mounts import MountsByHand
from dlpx_remote.engine_rooms import OpenRooms
from dlpx_remote.engine_vdbs import Vdbs
from dlpx_remote.environments.connections import Connections
from dlpx_remote.environments.model import Environment, EnvironmentUser
from dlpx_remote.environments.registry import Registry
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.plugins.worker import Workers
from dlpx_remote.store import Store
from dlpx_remote.workflows.engine_operations import workflows
from dlpx_remote.workflows.holding import all_locks_of, locks_of
from dlpx_remote.workflows.hook_records import HookRecords
from dlpx_remote.workflows.inventory import Inventory
from dlpx_remote.workflows.parameters import Given, KindOf
from dlpx_remote.workflows.plugins import Plugins
from dlpx_remote.workflows.removal import dependants_of_snapshot, in_use
from dlpx_remote.workflows.rooms import Volumes
from dlpx_remote.workflows.scheduling import ScheduleRecords
from dlpx_remote.workflows.source_records import SourceRecords
from dlpx_remote.workflows.sources import Hook, HookTemplate, Script, Snapshot, SourceInUse, WrongState
from dlpx_remote.workflows.views import MountView, SourceView

__all__ = [
    "Asked",
    "Dsources",
    "Given",
    "Hook",
    "HookTemplate",
    "Hooks",
    "LifeCycle",
    "MountView",
    "Parts",
    "Script",
    "Snapshot",
    "Snapshots",
    "SourceInUse",
    "SourceView",
    "Vdbs",
    "WrongState",
    "workflows",
]


class Snapshots:
    """Snapshots: ``engine.snapshots``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, source: str | None = None) -> list[Snapshot]:
        """All, or those of one dSource or VDB by name or reference, oldest first."""
        records = self._parts.records
        return records.snapshots(None if source is None else records.get(source).reference)

    def get(self, name: str) -> Snapshot:
        """By reference, or the newest of a dSource or VDB by name."""
        return self._parts.records.snapshot(name)

    def dependants(self, name: str) -> list[str]:
        """What deleting it with ``force`` takes along, each as ``the VDB masked``; the last made first."""
        return [str(each) for each in dependants_of_snapshot(self._parts.records, self.get(name).reference)]

    def delete(self, reference: str, *, force: bool = False, asked: Asked = NOW) -> str:
        """Delete a snapshot.

        Args:
            reference: of the snapshot.
            force: take along what was made from it.
            asked: how.

        Raises:
            SourceInUse: something was made from it; only without ``force``.
        """
        records = self._parts.records
        snapshot = records.snapshot(reference)
        if snapshot.reference != reference.upper():
            raise InvalidRequest(
                f"{reference!r} is no reference of a snapshot.",
                f"Name the snapshot itself; the newest of {reference} is {snapshot.reference}.",
            )
        found = dependants_of_snapshot(records, snapshot.reference)
        if found and not force:
            raise in_use(snapshot.reference, found)
        return self._parts.jobs.submit(
            "snapshot delete",
            {"snapshot": snapshot.reference, "source": snapshot.source, "force": force},
            f"delete {snapshot.reference} of {snapshot.source_name}",
            object=snapshot.source_name,
            locks=[
                snapshot.reference,
                *locks_of(records.get(snapshot.source)),
                *(lock for each in found for lock in all_locks_of(each)),
            ],
            wait=asked.wait,
            detach=asked.detach,
        )


class Hooks:
    """Hooks of dSources and VDBs, and templates: ``engine.hooks``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def of(self, source: str) -> list[Hook]:
        """Those of a dSource or VDB by name or reference, in the order in which they run."""
        return self._parts.hooks.of(self._parts.records.get(source).reference)

    def add(self, source: str, hook: Hook) -> Hook:
        """Another hook of a dSource or VDB, after those that it has."""
        return self._parts.hooks.add(self._parts.records.get(source), hook)

    def remove(self, source: str, name: str) -> None:
        """Forget a hook."""
        self._parts.hooks.remove(self._parts.records.get(source), name)

    def templates(self) -> list[HookTemplate]:
        """All templates, by name."""
        return self._parts.hooks.templates()

    def set_template(self, template: HookTemplate) -> None:
        """Keep a template, in place of one of that name."""
        self._parts.hooks.set_template(template)

    def remove_template(self, name: str) -> None:
        """Forget a template that no hook runs."""
        self._parts.hooks.remove_template(name)


class LifeCycle:
    """All of it on one engine. Nothing is opened before the first job runs.

    Args:
        store: the opened state.
        jobs: who runs the jobs.
        registry: environments.
        inventory: repositories and source configs.
        plugins: those that were added.
        workers: the processes for plugin code.
        secrets: where secrets are found.
        connections: the way to hosts.
        pool: opens the pool of data sets.
        kind_of: what a named credential is.

    Attributes:
        records: what the state says of them.
        rooms: opens what the workflows call.
        workflows: what jobs can be asked for.
        dsources, vdbs, snapshots, hooks, mounts: the API.
        nfs: the NFS server.
        parts: what it is made of.
    """

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        *,
        registry: Registry,
        inventory: Inventory,
        plugins: Plugins,
        workers: Workers,
        secrets: Secrets,
        connections: Connections,
        pool: Callable[[], Volumes],
        kind_of: KindOf,
    ) -> None:
        self.records = SourceRecords(store)
        hooks = HookRecords(store)
        self.rooms = OpenRooms(
            store,
            registry=registry,
            inventory=inventory,
            plugins=plugins,
            records=self.records,
            hooks=hooks,
            workers=workers,
            secrets=secrets,
            connections=connections,
            pool=pool,
            jobs=jobs,
        )
        self.parts = parts = Parts(
            self.rooms,
            jobs,
            registry,
            plugins,
            inventory,
            self.records,
            hooks,
            kind_of,
            ScheduleRecords(store),
        )
        self.workflows = workflows(self.rooms)
        self.dsources = Dsources(parts)
        self.vdbs = Vdbs(parts)
        self.snapshots = Snapshots(parts)
        self.hooks = Hooks(parts)
        self.nfs = self.rooms.nfs
        self.mounts = MountsByHand(self.rooms.mounts, lambda name: pool().path(name), registry, self.nfs)

    def close(self) -> None:
        """Let go of the NFS server; what it serves stays served."""
        self.nfs.close()

    def refuse_if_used(self, environment: Environment, user: EnvironmentUser | None = None) -> None:
        """Raise SourceInUse where a dSource or VDB lies on an environment, or belongs to a user of it."""
        used = self.records.using_environment(environment.reference, None if user is None else user.reference)
        if used:
            what = environment.name if user is None else f"{user.name} of {environment.name}"
            names = tuple(source.name for source in used)
            raise SourceInUse(
                f"{what} is still needed by {', '.join(names)}.", "Delete those first.", dependants=names
            )
