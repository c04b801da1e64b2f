"""The engine operations on dSources, in the order of the table of engine operations (docs/life-cycle.md)."""

from __future__ import annotations

from typing import Any

from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.workflows.operating import Operation, begin_new
from dlpx_remote.workflows.removal import remove_everything
from dlpx_remote.workflows.rooms import Rooms
from dlpx_remote.workflows.source_records import READY
from dlpx_remote.workflows.sources import DISABLED, ENABLED, WrongState

Result = dict[str, Any]


def link(rooms: Rooms, job: Job, request: Request) -> Result:
    """Make a dSource: its record and its data set, which the first sync fills.

    Request: see :func:`begin_new`.
    """
    with begin_new(rooms, job, request) as dsource:
        source = dsource.source
        dsource.expect(4)
        try:
            dsource.create_volume(source.current.volume)
            dsource.record("enable it", state=ENABLED, active=True)
        except Exception as error:
            job.compensating(error)
            remove_everything(dsource, force=True)
            raise
    return {"dsource": source.reference, "name": source.name}


def sync(rooms: Rooms, job: Job, request: Request) -> Result:
    """Linked Source Sync, direct and staged.

    Request: ``source`` (reference), ``snapshot_parameters``, ``hooks``.
    """
    parameters = request.get("snapshot_parameters")
    with Operation(rooms, job, request["source"], request) as dsource:
        dsource.require(ENABLED)
        dsource.expect(11 if dsource.source.staged else 7, "pre-sync", "post-sync")
        try:
            if dsource.source.staged:
                _stage(dsource)
            dsource.run_hooks("pre-sync")
            dsource.plugin("linked.pre_snapshot", snapshot_parameters=parameters)
            snapshot = dsource.take_snapshot(parameters)
            value = dsource.plugin("linked.post_snapshot", snapshot_parameters=parameters)
            dsource.keep_snapshot(snapshot, value)
        except Exception as error:
            job.compensating(error)
            dsource.quietly(dsource.drop_unfinished_snapshot)
            dsource.quietly(dsource.run_hooks, "post-sync")
            raise
        job.committed(f"{snapshot.reference} is kept")
        dsource.run_hooks("post-sync")
    return {"dsource": dsource.source.reference, "snapshot": snapshot.reference}


def enable(rooms: Rooms, job: Job, request: Request) -> Result:
    """Linked Source Enable. Request: ``source`` (reference), ``hooks``."""
    with Operation(rooms, job, request["source"], request) as dsource:
        dsource.require(DISABLED)
        dsource.expect(8 if dsource.source.staged else 2)
        if dsource.source.staged:
            try:
                _stage(dsource)
                dsource.plugin("linked.start_staging")
            except Exception as error:
                job.compensating(error)
                dsource.quietly(dsource.unmount, dsource.source.current, force=True)
                raise
            job.committed(f"{dsource.source.name} is enabled")
        dsource.record("enable it", state=ENABLED, active=True)
    return {"dsource": dsource.source.reference}


def restart(rooms: Rooms, job: Job, request: Request) -> Result:
    """Mount a staged dSource and start its staging, as after a reboot. Request: ``source`` (reference)."""
    with Operation(rooms, job, request["source"], request) as dsource:
        dsource.require(ENABLED)
        if dsource.source.staged:
            _stage(dsource)
            dsource.plugin("linked.start_staging")
    return {"dsource": dsource.source.reference}


def disable(rooms: Rooms, job: Job, request: Request) -> Result:
    """Linked Source Disable. Request: ``source`` (reference), ``hooks``, ``force``."""
    force = bool(request.get("force"))
    with Operation(rooms, job, request["source"], request) as dsource:
        dsource.require(ENABLED)
        dsource.expect(6 if dsource.source.staged else 2)
        if dsource.source.staged:
            dsource.attempt(force, dsource.plugin, "linked.stop_staging")
            try:
                dsource.unmount(dsource.source.current, force=force)
            except Exception as error:
                job.compensating(error)
                dsource.quietly(dsource.plugin, "linked.start_staging")
                raise
            job.committed(f"{dsource.source.name} is disabled")
        dsource.record("disable it", state=DISABLED, active=False)
    return {"dsource": dsource.source.reference}


def status(rooms: Rooms, job: Job, request: Request) -> Result:
    """Status of a dSource. Request: ``source`` (reference)."""
    with Operation(rooms, job, request["source"]) as dsource:
        if dsource.source.state != ENABLED:
            return {"status": "INACTIVE"}
        if not dsource.source.staged:
            return {"status": "ACTIVE"}
        found = dsource.plugin("linked.status")
        dsource.record_status(found)
    return {"status": found}


def size(rooms: Rooms, job: Job, request: Request) -> Result:
    """How large a dSource is, by what its plugin says. Request: ``source`` (reference)."""
    with Operation(rooms, job, request["source"]) as dsource:
        dsource.require(ENABLED)
        if not any(each.state == READY for each in dsource.snapshots):
            name = dsource.source.name
            raise WrongState(
                f"The dSource {name} has no data yet, so it has no size.",
                f"Fill it first: dlpx-remote dsource sync {name}.",
            )
        return {"size": dsource.size("linked.source_size")}


def worker(rooms: Rooms, job: Job, request: Request) -> Result:
    """One run of the staging worker. Request: ``source`` (reference)."""
    with Operation(rooms, job, request["source"]) as dsource:
        dsource.require(ENABLED)
        if dsource.source.staged and dsource.source.current.mounts:
            dsource.plugin("linked.worker")
    return {"dsource": dsource.source.reference}


def _stage(dsource: Operation) -> None:
    """Mount the data set on the staging environment as the plugin wants it."""
    current = dsource.specify_mounts(dsource.source.current)
    dsource.record("note the mounts", current=current)
    dsource.mount(current)
