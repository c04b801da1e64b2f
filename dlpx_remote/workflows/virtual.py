"""The engine operations on VDBs, in the order of the table of engine operations (docs/life-cycle.md).

Those that put another state in the place of the present one are in :mod:`dlpx_remote.workflows.switching`,
those that remove are in :mod:`dlpx_remote.workflows.removal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.workflows.operating import Operation, begin_new
from dlpx_remote.workflows.parameters import SNAPSHOT
from dlpx_remote.workflows.removal import remove_everything
from dlpx_remote.workflows.rooms import Rooms
from dlpx_remote.workflows.sources import DISABLED, ENABLED, Footing, WrongState

Result = dict[str, Any]


def provision(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Provision.

    Request: see :func:`begin_new`, with ``origin``, the reference of the snapshot.
    """

    def fill(vdb: Operation, volume: str) -> None:
        vdb.clone(request["origin"], volume)

    def configure(vdb: Operation, footing: Footing) -> Any:
        return vdb.plugin("virtual.configure", footing, snapshot=vdb.snapshot)

    def keep(vdb: Operation) -> None:
        snapshot = vdb.take_snapshot()
        vdb.keep_snapshot(snapshot, vdb.snapshot or {})

    return _bring_into_being(rooms, job, request, _Making(fill, configure, keep, steps=13))


def create_empty(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Create Empty. Request: see :func:`begin_new`."""

    def fill(vdb: Operation, volume: str) -> None:
        vdb.create_volume(volume)

    def initialize(vdb: Operation, footing: Footing) -> Any:
        return vdb.plugin("virtual.initialize", footing)

    return _bring_into_being(rooms, job, request, _Making(fill, initialize, lambda _vdb: None, steps=10))


@dataclass(frozen=True)
class _Making:
    """Where provisioning and creating empty differ: the volume, the plugin operation, the first snapshot."""

    fill: Callable[[Operation, str], None]
    configure: Callable[[Operation, Footing], Any]
    keep: Callable[[Operation], None]
    steps: int


def _bring_into_being(rooms: Rooms, job: Job, request: Request, making: _Making) -> Result:
    """What provisioning and creating empty have in common; a failure leaves nothing."""
    with begin_new(rooms, job, request) as vdb:
        source = vdb.source
        vdb.expect(making.steps, "configure-clone")
        try:
            making.fill(vdb, source.current.volume)
            footing = vdb.specify_mounts(source.current)
            vdb.record("note the mounts", current=footing)
            vdb.mount(footing)
            footing = replace(footing, source_config=vdb.kept_source_config(making.configure(vdb, footing)))
            vdb.record("note the source config", current=footing)
            vdb.run_hooks("configure-clone")
            making.keep(vdb)
            vdb.record("enable it", state=ENABLED, active=True)
        except Exception as error:
            job.compensating(error)
            if vdb.source.current.source_config is not None:
                vdb.quietly(vdb.plugin, "virtual.unconfigure")
                vdb.quietly(vdb.plugin, "virtual.cleanup")
            remove_everything(vdb, force=True)
            raise
    return {"vdb": source.reference, "name": source.name}


def snapshot(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Snapshot. Request: ``source`` (reference), ``hooks``."""
    with Operation(rooms, job, request["source"], request) as vdb:
        vdb.require(ENABLED)
        vdb.expect(7, "pre-snapshot", "post-snapshot")
        try:
            vdb.run_hooks("pre-snapshot")
            vdb.plugin("virtual.pre_snapshot")
            taken = vdb.take_snapshot()
            value = vdb.plugin("virtual.post_snapshot")
            vdb.keep_snapshot(taken, value)
        except Exception as error:
            job.compensating(error)
            vdb.quietly(vdb.drop_unfinished_snapshot)
            vdb.quietly(vdb.run_hooks, "post-snapshot")
            raise
        job.committed(f"{taken.reference} is kept")
        vdb.run_hooks("post-snapshot")
    return {"vdb": vdb.source.reference, "snapshot": taken.reference}


def start(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Start. Request: ``source`` (reference), ``hooks``."""
    with Operation(rooms, job, request["source"], request) as vdb:
        vdb.require(ENABLED)
        vdb.expect(7, "pre-start", "post-start")
        vdb.run_hooks("pre-start")
        _mount_as_specified(vdb)
        vdb.plugin("virtual.start")
        job.committed(f"{vdb.source.name} is started")
        vdb.record("note that it is started", active=True)
        vdb.run_hooks("post-start")
    return {"vdb": vdb.source.reference}


def stop(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Stop. Request: ``source`` (reference), ``hooks``."""
    with Operation(rooms, job, request["source"], request) as vdb:
        vdb.require(ENABLED)
        vdb.expect(4, "pre-stop", "post-stop")
        vdb.run_hooks("pre-stop")
        vdb.plugin("virtual.stop")
        job.committed(f"{vdb.source.name} is stopped")
        vdb.record("note that it is stopped", active=False)
        vdb.run_hooks("post-stop")
    return {"vdb": vdb.source.reference}


def enable(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Enable. Request: ``source`` (reference), ``hooks``.

    A plugin that has no ``virtual.status`` is taken as saying ACTIVE; but what the engine itself has
    unmounted cannot be, and is brought into force all the same.
    """
    with Operation(rooms, job, request["source"], request) as vdb:
        vdb.require(DISABLED)
        vdb.expect(10, *(("pre-start", "post-start") if vdb.extended_hooks else ()))
        before, configured = vdb.source.current, False
        try:
            if vdb.plugin("virtual.status") == "INACTIVE" or not vdb.mounted():
                if vdb.extended_hooks:
                    vdb.run_hooks("pre-start")
                _mount_as_specified(vdb)
                value = vdb.plugin("virtual.reconfigure", snapshot=vdb.snapshot)
                configured = True
                vdb.keep_source_config(value)
                if vdb.extended_hooks:
                    vdb.run_hooks("post-start")
            vdb.record("enable it", state=ENABLED, active=True)
        except Exception as error:
            job.compensating(error)
            if configured:
                vdb.quietly(vdb.plugin, "virtual.unconfigure")
            vdb.quietly(vdb.unmount, vdb.source.current, force=True)
            vdb.quietly(vdb.record, "leave it as it was", current=before)
            raise
    return {"vdb": vdb.source.reference}


def disable(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Disable. Request: ``source`` (reference), ``hooks``, ``force``."""
    force = bool(request.get("force"))
    with Operation(rooms, job, request["source"], request) as vdb:
        vdb.require(ENABLED)
        require_snapshot(vdb)
        vdb.expect(5, *(("pre-stop", "post-stop") if vdb.extended_hooks else ()))
        if vdb.extended_hooks:
            vdb.attempt(force, vdb.run_hooks, "pre-stop")
        vdb.attempt(force, vdb.plugin, "virtual.unconfigure")
        try:
            vdb.unmount(vdb.source.current, force=force)
        except Exception as error:
            job.compensating(error)
            vdb.quietly(bring_back, vdb, vdb.source.current, vdb.snapshot)
            raise
        job.committed(f"{vdb.source.name} is disabled")
        vdb.record("disable it", state=DISABLED, active=False)
        if vdb.extended_hooks:
            vdb.attempt(force, vdb.run_hooks, "post-stop")
    return {"vdb": vdb.source.reference}


def status(rooms: Rooms, job: Job, request: Request) -> Result:
    """Status of a VDB. Request: ``source`` (reference)."""
    with Operation(rooms, job, request["source"]) as vdb:
        if vdb.source.state != ENABLED:
            return {"status": "INACTIVE"}
        found = vdb.plugin("virtual.status")
        vdb.record_status(found)
    return {"status": found}


def size(rooms: Rooms, job: Job, request: Request) -> Result:
    """How large a VDB is, by what its plugin says. Request: ``source`` (reference)."""
    with Operation(rooms, job, request["source"]) as vdb:
        vdb.require(ENABLED)
        return {"size": vdb.size("virtual.source_size")}


def require_snapshot(vdb: Operation) -> None:
    """Raise unless there is a snapshot for ``virtual.reconfigure``, which brings a VDB back into force."""
    if vdb.snapshot is None and vdb.problems(SNAPSHOT, {}):
        name = vdb.source.name
        raise WrongState(
            f"The VDB {name} has no snapshot yet, and its plugin needs one to bring it back.",
            f"Take one first: dlpx-remote vdb snapshot {name}.",
        )


def bring_back(vdb: Operation, footing: Footing, value: Mapping[str, Any] | None) -> None:
    """Have a state that was unconfigured in force again: mounted, reconfigured, and stopped if it was so."""
    vdb.mount(footing)
    config = vdb.plugin("virtual.reconfigure", footing, snapshot=value or {})
    vdb.record(
        "note the source config", current=replace(footing, source_config=vdb.kept_source_config(config))
    )
    if not vdb.source.active:
        vdb.plugin("virtual.stop")


def _mount_as_specified(vdb: Operation) -> None:
    current = vdb.specify_mounts(vdb.source.current)
    vdb.record("note the mounts", current=current)
    vdb.mount(current)
