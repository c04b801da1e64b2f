"""The engine operations that remove: deleting dSources, VDBs and snapshots, and what hangs on them.

Nothing that something else was made from is removed, unless it is forced; then that goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.workflows.holding import all_locks_of
from dlpx_remote.workflows.operating import Operation
from dlpx_remote.workflows.rooms import Rooms
from dlpx_remote.workflows.source_records import SourceRecords
from dlpx_remote.workflows.sources import BROKEN, Footing, Snapshot, Source, SourceInUse

Result = dict[str, Any]


@dataclass(frozen=True)
class Dependant:
    """Something that was made from what is to be removed.

    Attributes:
        reference: of the VDB.
        name: of the VDB.
        undo_only: not the VDB itself, only the state to which it could be undone.
    """

    reference: str
    name: str
    undo_only: bool = False

    def __str__(self) -> str:
        return f"the undo state of the VDB {self.name}" if self.undo_only else f"the VDB {self.name}"


def delete_dsource(rooms: Rooms, job: Job, request: Request) -> Result:
    """Linked Source Delete. Request: ``source`` (reference), ``hooks``, ``force``."""
    force = bool(request.get("force"))
    taken = _take_along_those_of(rooms, job, request["source"], force)
    with Operation(rooms, job, request["source"], request) as dsource:
        if dsource.source.staged and dsource.source.current.mounts:
            dsource.attempt(force, dsource.plugin, "linked.stop_staging")
        remove_everything(dsource, force=force)
    return {"deleted": [*taken, dsource.source.name]}


def delete_vdb(rooms: Rooms, job: Job, request: Request) -> Result:
    """Virtual Source Delete. Request: ``source`` (reference), ``hooks``, ``force``."""
    force = bool(request.get("force"))
    taken = _take_along_those_of(rooms, job, request["source"], force)
    name = _delete_vdb(rooms, job, request["source"], request, force)
    return {"deleted": [*taken, name]}


def delete_snapshot(rooms: Rooms, job: Job, request: Request) -> Result:
    """Remove a snapshot. Request: ``snapshot`` (reference), ``source`` (reference), ``force``."""
    force, reference = bool(request.get("force")), request["snapshot"]
    found = _see(job, reference, force, lambda: dependants_of_snapshot(rooms.records, reference))
    taken = _take_along(rooms, job, reference, found, force)
    if request["source"] in {each.reference for each in found if not each.undo_only}:
        return {"deleted": taken}  # it went with its VDB
    with Operation(rooms, job, request["source"]) as operation, job.whole():
        job.step(f"mark {reference}", lambda: rooms.records.deleting_snapshot(reference))
        operation.delete_volume(reference)
        job.step(f"forget {reference}", lambda: rooms.records.remove_snapshot(reference))
        left = [each for each in operation.snapshots if each.reference != reference]
        for footing in operation.source.retired:
            if not _has_snapshots(footing, left):
                _discard(operation, footing)
    return {"deleted": [*taken, reference]}


def dependants(records: SourceRecords, source: Source) -> list[Dependant]:
    """What was made from a source's snapshots, and from what was made from those; the last made first."""
    found: dict[str, Dependant] = {}

    def visit(parent: Source) -> None:
        for snapshot in records.snapshots(parent.reference):
            for child in records.children(snapshot.reference):
                if child.reference in (parent.reference, source.reference):
                    continue
                if _only_undo(records, child, snapshot.reference):
                    found.setdefault(child.reference, Dependant(child.reference, child.name, undo_only=True))
                else:
                    visit(child)
                    found[child.reference] = Dependant(child.reference, child.name)

    visit(source)
    return list(found.values())


def dependants_of_snapshot(records: SourceRecords, snapshot: str) -> list[Dependant]:
    """What was made from one snapshot, and from what was made from that; the last made first."""
    found: dict[str, Dependant] = {}
    for child in records.children(snapshot):
        if _only_undo(records, child, snapshot):
            found.setdefault(child.reference, Dependant(child.reference, child.name, undo_only=True))
        else:
            found |= {each.reference: each for each in dependants(records, child)}
            found[child.reference] = Dependant(child.reference, child.name)
    return list(found.values())


def _only_undo(records: SourceRecords, child: Source, snapshot: str) -> bool:
    """Whether giving up the undo state of a VDB is enough for it not to need a snapshot any more."""
    needing = [footing for footing in child.footings if footing.origin == snapshot]
    return needing == [child.previous] and not any(
        _has_snapshots(footing, records.snapshots(child.reference)) for footing in needing
    )


def in_use(what: str, found: Sequence[Dependant]) -> SourceInUse:
    """The error for something that is still needed."""
    listed = ", ".join(map(str, found))
    return SourceInUse(
        f"{what} is still needed by {listed}.",
        "Delete those first, or take them along with --force.",
        dependants=tuple(each.name for each in found),
    )


def remove_everything(operation: Operation, *, force: bool) -> None:
    """Take a source's mounts, volumes, snapshots and record away; once begun, this is not cancelled.

    Args:
        operation: on the source.
        force: go on where something fails; the record then stays, as broken, so that it can be tried again.
    """
    with operation.job.whole():
        if force:
            _remove_what_goes(operation)
            return
        operation.unmount(operation.source.current)
        for name in _in_order(operation):
            operation.delete_volume(name)
        operation.forget()


def _remove_what_goes(operation: Operation) -> None:
    well = operation.quietly(operation.unmount, operation.source.current, force=True)
    for name in _in_order(operation):
        well = operation.quietly(operation.delete_volume, name) and well
    if well:
        operation.quietly(operation.forget)
    else:
        operation.quietly(operation.record, "note that something is left", state=BROKEN, active=False)


def retire(operation: Operation, footing: Footing) -> None:
    """Remove a state that is not needed any more, unless snapshots of it are there."""
    if not _has_snapshots(footing, operation.snapshots):
        _discard(operation, footing)


def _discard(operation: Operation, footing: Footing) -> None:
    operation.delete_volume(footing.volume)
    operation.record(
        f"forget {footing.volume}",
        retired=tuple(each for each in operation.source.retired if each.volume != footing.volume),
    )


def _has_snapshots(footing: Footing, snapshots: Sequence[Snapshot]) -> bool:
    return any(snapshot.source_volume == footing.volume for snapshot in snapshots)


def _in_order(operation: Operation) -> Iterator[str]:
    """Every volume of a source, none before what hangs on it."""
    source = operation.source
    footings = source.footings
    done: set[str] = set()

    def visit(footing: Footing) -> Iterator[str]:
        if footing.volume in done:
            return
        done.add(footing.volume)
        for snapshot in operation.snapshots:
            if snapshot.source_volume == footing.volume:
                for child in footings:
                    if child.origin == snapshot.reference:
                        yield from visit(child)
                yield snapshot.reference
        yield footing.volume

    for footing in footings:
        yield from visit(footing)


def _take_along_those_of(rooms: Rooms, job: Job, reference: str, force: bool) -> list[str]:
    records = rooms.records
    found = _see(job, reference, force, lambda: dependants(records, records.get(reference)))
    return _take_along(rooms, job, reference, found, force)


def _see(job: Job, reference: str, force: bool, find: Callable[[], list[Dependant]]) -> list[Dependant]:
    """What was made from it by now; where that is to be taken along, the job holds all of it from here on.

    Nothing can be made from it meanwhile, as its snapshots are held already; nor from what is held here.
    """

    def see() -> list[dict[str, Any]]:
        held: set[str] = set()
        while True:
            found = find()
            needed = {lock for each in found for lock in all_locks_of(each)}
            if not force or needed <= held:
                return [vars(each) for each in found]
            job.hold(*sorted(needed - held))
            held |= needed

    return [Dependant(**each) for each in job.step(f"see what was made from {reference}", see)]


def _take_along(rooms: Rooms, job: Job, reference: str, found: Sequence[Dependant], force: bool) -> list[str]:
    """Remove what was made from it first, or refuse."""
    if found and not force:
        raise in_use(reference, found)
    names = []
    for each in found:
        if each.undo_only:
            with Operation(rooms, job, each.reference) as vdb, job.whole():
                previous = vdb.source.previous
                if previous is not None:
                    vdb.record(
                        "forget the undo state", previous=None, retired=(*vdb.source.retired, previous)
                    )
                    retire(vdb, previous)
            names.append(str(each))
        else:
            names.append(_delete_vdb(rooms, job, each.reference, {}, force))
    return names


def _delete_vdb(rooms: Rooms, job: Job, reference: str, request: Request, force: bool) -> str:
    with Operation(rooms, job, reference, request) as vdb:
        if vdb.source.current.source_config is not None:
            vdb.attempt(force, vdb.run_hooks, "pre-stop")
            vdb.attempt(force, vdb.plugin, "virtual.unconfigure")
            vdb.attempt(force, vdb.plugin, "virtual.cleanup")
            vdb.attempt(force, vdb.run_hooks, "post-stop")
        remove_everything(vdb, force=force)
    return vdb.source.name
