"""The steps by which a volume comes to its hosts: :class:`Attaching`, for one call of ``Mounts.attach``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlpx_remote.mounts.base import Export, Exporter, Mounted, MountRefused, Owner, Placement, Reach
from dlpx_remote.mounts.inside import make_within, missing_within
from dlpx_remote.mounts.paths import directory_within
from dlpx_remote.mounts.reaching import Reached, source_name
from dlpx_remote.mounts.records import MountRecord, export_name, place_name, source_of
from dlpx_remote.mounts.source import NFS_OPTIONS, Source
from dlpx_remote.store.ledger import Entry, Kind, State

if TYPE_CHECKING:
    from dlpx_remote.mounts.service import Mounts


class Attaching:
    """See :meth:`dlpx_remote.mounts.base.Mounting.attach` for what it takes; of a volume that is locked."""

    def __init__(
        self,
        mounts: Mounts,
        volume: str,
        directory: Path,
        *,
        owner: Owner | None,
        root_squash: bool,
        job: str | None,
        placements: Sequence[Placement],
    ) -> None:
        self._mounts = mounts
        self._ledger = mounts.ledger
        self._volume = volume
        self._directory = directory
        self._owner = owner
        self._root_squash = root_squash
        self._job = job
        self._placements = placements
        self._remarks: tuple[str, ...] = ()

    def run(self) -> list[Mounted]:
        """All of them; gives back what is mounted, in the order asked."""
        ways = [(placement, *self._mounts.reached(placement)) for placement in self._placements]
        if not ways:
            return []
        exporters = {way.here: self._mounts.exporter("local" if way.here else None) for _, _, way in ways}
        self._present(list(exporters.values()))
        done = {}
        # the outer before the inner, else as asked
        for placement, reach, way in sorted(ways, key=lambda each: each[0].mount_path.count("/")):
            done[placement] = self._mount(placement, reach, way, exporters[way.here])
        return [done[placement] for placement in self._placements]

    def _present(self, exporters: Sequence[Exporter]) -> None:
        details = {
            "directory": str(self._directory),
            "owner": [self._owner.uid, self._owner.gid] if self._owner else None,
        }
        self._ledger.intend(
            Kind.PRESENTATION, self._volume, parent=self._volume, details=details, job=self._job
        )
        presented = self._mounts.presentations.present(
            self._volume,
            self._directory,
            self._owner,
            mapped=all(exporter.maps_owners(self._directory) for exporter in exporters),
        )
        self._remarks = presented.remarks
        self._ledger.present(Kind.PRESENTATION, self._volume, {"way": presented.way})

    def _mount(self, placement: Placement, reach: Reach, way: Reached, exporter: Exporter) -> Mounted:
        # before the host is asked, which can only say that something is there
        former = self._former(placement, reach)
        left = self._mounts.take_left(placement)
        host = self._mounts.host(placement)
        if former is not None and former.state is not State.PRESENT:
            known = MountRecord.of(former.details)
            host.settled(known.path, known.source, known.until)
        outer = self._outer(placement)
        source = self._serve(placement, reach, way, exporter)
        name = export_name(self._volume, placement.environment, placement.shared_path or "")
        record = MountRecord(placement, name, placement.mount_path, source)
        if outer is not None:
            record = self._with_mount_point(record, outer, reach)
        state = host.look(placement.mount_path, source, hides=outer is not None)
        record = self._intend(replace(record, path=state.path, made=state.missing), reach)
        try:
            mounted = host.mount(placement.mount_path, source, hides=outer is not None, state=state)
        except Exception:
            if host.until is not None:  # it may still come to be mounted
                self._intend(replace(record, until=host.until), reach)
            raise
        remarks = (*self._remarks, *left, *mounted.remarks)
        self._ledger.present(Kind.MOUNT, place_name(placement), {"remarks": list(remarks)})
        return Mounted(placement, source.name, mounted.options, mounted.version, remarks)

    def _with_mount_point(self, record: MountRecord, outer: Placement, reach: Reach) -> MountRecord:
        """In another mount, a directory to mount on has to be in the volume; the host may not make it."""
        inside = record.placement.mount_path[len(outer.mount_path) + 1 :]
        path = "/".join(part for part in (outer.shared_path or "", inside) if part)
        presented = self._mounts.presentations.path(self._volume)
        missing = missing_within(presented, path)
        if missing:
            record = self._intend(replace(record, within=missing), reach)
            make_within(presented, missing)
        return record

    def _intend(self, record: MountRecord, reach: Reach) -> MountRecord:
        """Into the ledger, with what an earlier call made for the same mount."""
        name = place_name(record.placement)
        former = self._former(record.placement, reach)
        if former is not None:
            known = MountRecord.of(former.details)
            record = replace(
                record, made=_union(known.made, record.made), within=_union(known.within, record.within)
            )
        self._ledger.intend(Kind.MOUNT, name, parent=self._volume, details=record.details(), job=self._job)
        return record

    def _former(self, placement: Placement, reach: Reach) -> Entry | None:
        """What the ledger has of the place, which must not be another volume's."""
        former = self._ledger.get(Kind.MOUNT, place_name(placement))
        if former is not None and former.parent != self._volume:
            raise MountRefused(
                f"{placement.mount_path} on {reach.name} is taken by {former.parent}.",
                "Choose another mount path.",
            )
        return former

    def _serve(self, placement: Placement, reach: Reach, way: Reached, exporter: Exporter) -> Source:
        shared = placement.shared_path or ""
        presented = self._mounts.presentations.path(self._volume)
        export = Export(
            export_name(self._volume, placement.environment, shared),
            directory_within(presented, shared),
            way.clients,
            self._root_squash,
        )
        details = {
            "kind": exporter.kind,
            "directory": str(export.directory),
            "clients": list(export.clients),
            "root_squash": export.root_squash,
        }
        self._ledger.intend(Kind.EXPORT, export.name, parent=self._volume, details=details, job=self._job)
        served = exporter.add(export)
        self._ledger.present(Kind.EXPORT, export.name)
        if served.file_system == "bind":
            return source_of(served, served.path, ("rw",))
        return source_of(served, source_name(way.server, served.path), reach.options or NFS_OPTIONS)

    def _outer(self, placement: Placement) -> Placement | None:
        """The innermost other placement of this call in which this one lies."""
        outer = [
            other
            for other in self._placements
            if other.environment == placement.environment
            and placement.mount_path.startswith(f"{other.mount_path}/")
        ]
        return max(outer, key=lambda other: len(other.mount_path), default=None)


def _union(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """Both without doubles, the outer directories first."""
    return tuple(sorted({*first, *second}, key=lambda path: (path.count("/"), path)))
