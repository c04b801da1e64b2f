"""Bringing a volume to the hosts that need it, and away again: :class:`Mounts`.

Presented here, served, mounted there; taken away in the opposite order. Every step is in the ledger before it
is taken, so that whatever process comes next can go on, or undo it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from dlpx_remote.errors import NotFound, RemoteError
from dlpx_remote.mounts.attaching import Attaching
from dlpx_remote.mounts.base import (
    Export,
    Exporter,
    Hosts,
    MountBusy,
    Mounted,
    MountRefused,
    MountUnderWay,
    Owner,
    Placement,
    Reach,
)
from dlpx_remote.mounts.host import HostMounts
from dlpx_remote.mounts.inside import remove_within
from dlpx_remote.mounts.locks import exclusive
from dlpx_remote.mounts.paths import checked_mount_path, checked_shared_path, directory_within
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.mounts.reaching import Reached, reached
from dlpx_remote.mounts.records import MountRecord, place_name
from dlpx_remote.store.ledger import Entry, Kind, Ledger, State
from dlpx_remote.transports.base import TransportError

_LOG = logging.getLogger(__name__)


class Mounts:
    """See :class:`dlpx_remote.mounts.base.Mounting`. Safe for use from several threads and processes.

    Args:
        ledger: where every step is written down.
        hosts: the environments.
        presentations: of this engine.
        local: for hosts that are this machine.
        nfs: gives the NFS server of that kind; of the configured one where the kind is None.
    """

    def __init__(
        self,
        ledger: Ledger,
        hosts: Hosts,
        presentations: Presentations,
        local: Exporter,
        nfs: Callable[[str | None], Exporter],
    ) -> None:
        self._ledger = ledger
        self._hosts = hosts
        self._presentations = presentations
        self._local = local
        self._nfs = nfs

    def attach(
        self,
        volume: str,
        directory: Path,
        placements: Sequence[Placement],
        *,
        owner: Owner | None,
        root_squash: bool = True,
        job: str | None = None,
    ) -> list[Mounted]:
        """See :meth:`dlpx_remote.mounts.base.Mounting.attach`."""
        wanted = [self._checked(placement, directory) for placement in placements]
        _check_distinct(wanted)
        with self._locked(volume):
            if self._presented_otherwise(volume, directory, owner):
                self._clear(volume)
            before = {entry.name for entry in self._mounts(volume)}
            asked = {place_name(placement) for placement in wanted}
            for name in before - asked:
                self._take_away(name, force=False)
            self._drop_unused(volume, keep_presentation=True)
            before &= asked
            attaching = Attaching(
                self, volume, directory, owner=owner, root_squash=root_squash, job=job, placements=wanted
            )
            try:
                return attaching.run()
            except BaseException:
                self._undo(volume, before)
                raise

    def detach(self, volume: str, *, force: bool = False, job: str | None = None) -> tuple[str, ...]:
        """See :meth:`dlpx_remote.mounts.base.Mounting.detach`."""
        _LOG.debug("detaching %s for %s", volume, job)
        with self._locked(volume):
            return tuple(self._clear(volume, force=force))

    def attach_also(
        self, volume: str, directory: Path, placement: Placement, *, owner: Owner | None, root_squash: bool
    ) -> Mounted:
        """Mount a volume at one more place, for the owner for whom it is mounted already if there is one.

        Args and Raises: as :meth:`attach`.
        """
        present = [other for _, other in self.placed(volume)]
        entry = self._ledger.get(Kind.PRESENTATION, volume)
        if present and entry is not None:
            known = Owner(*entry.details["owner"]) if entry.details["owner"] else None
            if owner not in (None, known):
                raise MountRefused(
                    f"{volume} is mounted elsewhere for another owner.", "Unmount it there, or name no owner."
                )
            owner = known
        wanted = [*(other for other in present if place_name(other) != place_name(placement)), placement]
        return self.attach(volume, directory, wanted, owner=owner, root_squash=root_squash)[-1]

    def detach_from(
        self, volume: str, environment: str, path: str | None, *, force: bool = False
    ) -> tuple[str, ...]:
        """Unmount a volume at one place, or everywhere on one environment; gives back remarks.

        Args:
            volume: name of the volume.
            environment: reference.
            path: as it was asked for; None for all.
            force: see :meth:`detach`.

        Raises:
            NotFound: it is not mounted there.
            As :meth:`detach`.
        """
        plain = None if path is None else checked_mount_path(path)
        with self._locked(volume):
            fitting = [
                entry.name
                for entry in self._mounts(volume)
                if entry.details["placement"]["environment"] == environment
                and plain in (None, entry.details["placement"]["mount_path"])
            ]
            if not fitting:
                raise NotFound(f"{volume} is not mounted there.", "See: dlpx-remote nfs status")
            remarks: list[str] = []
            for name in fitting:
                remarks += self._take_away(name, force=force)
            return (*remarks, *self._drop_unused(volume))

    def placed(self, volume: str | None = None) -> list[tuple[str, Placement]]:
        """Which volumes are mounted where, as the ledger has it; of one volume, or of all."""
        entries = self._ledger.entries(kind=Kind.MOUNT, parent=volume)
        return [(entry.parent or "", MountRecord.of(entry.details).placement) for entry in entries]

    def attached(self, volume: str) -> list[Mounted]:
        """See :meth:`dlpx_remote.mounts.base.Mounting.attached`."""
        found = []
        for entry in reversed(self._mounts(volume)):
            record = MountRecord.of(entry.details)
            shown = self.host(record.placement).shown(record.path, record.source)
            if shown is not None:
                options = ",".join(dict.fromkeys(f"{shown.options},{shown.super_options}".split(",")))
                version = shown.value("vers") or "" if record.source.file_system == "nfs" else ""
                found.append(Mounted(record.placement, record.source.name, options, version, record.remarks))
        return found

    def recover(self, running: Callable[[str], bool] | None = None) -> tuple[str, ...]:
        """See :meth:`dlpx_remote.mounts.base.Mounting.recover`."""
        remarks: list[str] = []
        kinds = (Kind.PRESENTATION, Kind.EXPORT, Kind.MOUNT)
        entries = [entry for kind in kinds for entry in self._ledger.entries(kind=kind)]
        for volume in dict.fromkeys(entry.parent for entry in entries if entry.parent is not None):
            mine = [entry for entry in entries if entry.parent == volume]
            if running is not None and any(entry.job and running(entry.job) for entry in mine):
                continue
            try:
                with self._locked(volume):
                    remarks += self._recover(volume)
            except RemoteError as error:
                remarks.append(f"The mounts of {volume} could not be put in order: {error}")
        for entry in self._ledger.entries(kind=Kind.LEFT):
            if entry.details.get("late"):  # it was being mounted; the host itself answered
                try:
                    remarks += self.take_left(MountRecord.of(entry.details).placement)
                except RemoteError as error:
                    remarks.append(f"What was left at {entry.name} could not be taken away: {error}")
        return tuple(remarks)

    def take_left(self, placement: Placement) -> tuple[str, ...]:
        """Take away what was left at a place when its host did not answer, if it is still there."""
        entry = self._ledger.get(Kind.LEFT, place_name(placement))
        if entry is None:
            return ()
        record = MountRecord.of(entry.details)
        remarks = self.host(placement).unmount(
            record.path, record.source, record.made, force=True, begun=True, until=record.until
        )
        self._ledger.gone(Kind.LEFT, entry.name)
        return (f"{record.source.name}, which was left at {record.path}, is unmounted.", *remarks)

    # what the steps of attaching need

    @property
    def ledger(self) -> Ledger:
        """Of the engine."""
        return self._ledger

    @property
    def presentations(self) -> Presentations:
        """Of the engine."""
        return self._presentations

    def exporter(self, kind: str | None) -> Exporter:
        """Of a kind; the configured NFS server for None."""
        return self._local if kind == "local" else self._nfs(kind)

    def host(self, placement: Placement) -> HostMounts:
        """The host of a placement, through its user."""
        return HostMounts(
            self._hosts.connection(placement.environment, placement.user),
            self._hosts.privilege(placement.environment, placement.user),
        )

    def reached(self, placement: Placement) -> tuple[Reach, Reached]:
        """How the host of a placement is reached."""
        reach = self._hosts.reach(placement.environment)
        return reach, reached(self._hosts.connection(placement.environment, placement.user), reach)

    # checking

    def _checked(self, placement: Placement, directory: Path) -> Placement:
        reach = self._hosts.reach(placement.environment)
        if reach.windows:
            raise MountRefused(
                f"{reach.name} is a Windows host; the engine mounts data sets by NFS on Unix hosts only.",
                "Choose an environment on a Unix host.",
            )
        shared = checked_shared_path(placement.shared_path)
        directory_within(directory, shared)
        path = checked_mount_path(placement.mount_path)
        return Placement(placement.environment, placement.user, path, shared or None)

    # taking away

    def _mounts(self, volume: str) -> list[Entry]:
        """The mounts of a volume in the order in which they go: the inner before the outer."""
        entries = self._ledger.entries(kind=Kind.MOUNT, parent=volume)[::-1]
        return sorted(entries, key=lambda entry: -entry.details["path"].count("/"))

    def _clear(self, volume: str, *, force: bool = False) -> list[str]:
        remarks: list[str] = []
        for entry in self._mounts(volume):
            remarks += self._take_away(entry.name, force=force)
        return remarks + self._drop_unused(volume)

    def _presented_otherwise(self, volume: str, directory: Path, owner: Owner | None) -> bool:
        entry = self._ledger.get(Kind.PRESENTATION, volume)
        wanted = (str(directory), [owner.uid, owner.gid] if owner else None)
        return entry is not None and (entry.details["directory"], entry.details["owner"]) != wanted

    def _take_away(self, name: str, *, force: bool) -> list[str]:
        before = self._ledger.get(Kind.MOUNT, name)
        begun = before is not None and before.state is not State.PRESENT
        entry = self._ledger.removing(Kind.MOUNT, name)
        record = MountRecord.of(entry.details)
        remarks: list[str] = []
        host: HostMounts | None = None
        try:
            host = self.host(record.placement)
            remarks += host.unmount(
                record.path, record.source, record.made, force=force, begun=begun, until=record.until
            )
        except Exception as error:
            if host is not None and host.until is not None:  # it may still come to be unmounted
                record = replace(record, until=host.until)
                self._ledger.intend(Kind.MOUNT, name, parent=entry.parent, details=record.details())
                self._ledger.removing(Kind.MOUNT, name)
            elif isinstance(error, MountBusy):
                self._ledger.present(Kind.MOUNT, name)
            if not force or not isinstance(error, TransportError | MountUnderWay):
                raise
            where = getattr(error, "host", "") or record.placement.environment
            remarks.append(f"{record.source.name} was left at {record.path} on {where}: {error.message}")
            late = isinstance(error, MountUnderWay)
            if late or self._may_be_there(record):  # and then it is in the way of what is mounted there next
                self._ledger.intend(Kind.LEFT, name, details={**record.details(), "late": late})
                self._ledger.present(Kind.LEFT, name)
        volume = self._presentations.path(entry.parent or "")
        remove_within(volume, record.within)
        self._ledger.gone(Kind.MOUNT, name)
        return remarks

    def _may_be_there(self, record: MountRecord) -> bool:
        try:
            return self.host(record.placement).shown(record.path, record.source) is not None
        except TransportError:
            return True

    def _drop_unused(self, volume: str, *, keep_presentation: bool = False) -> list[str]:
        """Withdraw the exports that no mount needs, and the presentation that no export needs."""
        used = {entry.details["export"] for entry in self._mounts(volume)}
        for entry in self._ledger.entries(kind=Kind.EXPORT, parent=volume):
            if entry.name not in used:
                self._ledger.removing(Kind.EXPORT, entry.name)
                self.exporter(entry.details["kind"]).remove(entry.name)
                self._ledger.gone(Kind.EXPORT, entry.name)
        if used or keep_presentation or self._ledger.get(Kind.PRESENTATION, volume) is None:
            return []
        self._ledger.removing(Kind.PRESENTATION, volume)
        remarks = self._presentations.withdraw(volume)
        self._ledger.gone(Kind.PRESENTATION, volume)
        return list(remarks)

    def _undo(self, volume: str, keep: set[str]) -> None:
        """Take away what a failed call made; what cannot be stays in the ledger, for the next call."""
        try:
            for entry in self._mounts(volume):
                if entry.name not in keep:
                    self._take_away(entry.name, force=False)
            self._drop_unused(volume)
        except Exception:
            _LOG.warning("what a failed mount of %s left could not all be taken away", volume, exc_info=True)

    def _recover(self, volume: str) -> list[str]:
        remarks: list[str] = []
        for entry in self._mounts(volume):
            if entry.state is not State.PRESENT:
                record = MountRecord.of(entry.details)
                remarks += self._take_away(entry.name, force=False)
                remarks.append(
                    f"The mount of {volume} at {record.path} was "
                    f"{'begun and is undone' if entry.state is State.INTENDED else 'to go and is gone'}."
                )
        remarks += self._drop_unused(volume)
        presentation = self._ledger.get(Kind.PRESENTATION, volume)
        if presentation is not None:
            details = presentation.details
            owner = Owner(*details["owner"]) if details["owner"] else None
            self._presentations.present(
                volume, Path(details["directory"]), owner, mapped=details.get("way") != "changed"
            )
            self._ledger.present(Kind.PRESENTATION, volume)
        for entry in self._ledger.entries(kind=Kind.EXPORT, parent=volume):
            details = entry.details
            export = Export(
                entry.name,
                Path(details["directory"]),
                tuple(details["clients"]),
                details["root_squash"],
            )
            self.exporter(details["kind"]).add(export)
            self._ledger.present(Kind.EXPORT, entry.name)
        return remarks

    def _locked(self, volume: str) -> AbstractContextManager[None]:
        """One call at a time for a volume, whichever process of this machine makes it."""
        return exclusive(self._presentations.path(f".{volume}.lock"))


def _check_distinct(placements: Sequence[Placement]) -> None:
    seen: set[tuple[str, str]] = set()
    for placement in placements:
        place = (placement.environment, placement.mount_path)
        if place in seen:
            raise MountRefused(
                f"The mount specification names {placement.mount_path} twice.", "Name every mount path once."
            )
        seen.add(place)
