"""The pool: volumes with their rules. What depends on what, and what the ledger says before and after.

The intent is in the ledger before a back end does anything, and nothing is deleted that the ledger does not
name. A volume is there or not, never by half: so after a crash, :meth:`Pool.recover` only has to see which.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.storage.base import Backend, Health, Size, VolumeExists, VolumeInUse, VolumeMissing
from dlpx_remote.storage.mount_table import mounts_within
from dlpx_remote.storage.place import Place
from dlpx_remote.store import Entry, Kind, Ledger, State, StillNeeded

_VOLUME = Kind.VOLUME


class VolumeKind(StrEnum):
    """What a volume is."""

    DATA_SET = "data set"
    SNAPSHOT = "snapshot"
    CLONE = "clone"


class PoolBackend(Backend, Protocol):
    """A back end, and the directory that it works in."""

    place: Place


@dataclass(frozen=True)
class Volume:
    """A volume that the ledger names.

    Attributes:
        name: of the volume.
        kind: what it is.
        state: how far it has come.
        parent: the volume that it was made from; None for a data set.
        path: where its files are.
        there: whether it is there; one that the ledger says is present and that is not there is lost.
        record_size: bytes of a record of its data, where one was asked for.
        job: reference of the job that made it.
        made: when it was asked for.
    """

    name: str
    kind: VolumeKind
    state: State
    parent: str | None
    path: Path
    there: bool
    record_size: int | None
    job: str | None
    made: datetime


@dataclass(frozen=True)
class Recovery:
    """What was done about volumes that an engine had begun with when it died. Names.

    Attributes:
        finished: were there, and are in the ledger now.
        undone: had not been made, and are no longer in the ledger.
        deleted: were to be deleted, and are.
        under_way: another process is at work on them.
    """

    finished: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    under_way: tuple[str, ...] = ()


class Pool:
    """The volumes of one back end. Safe for use from several threads, and beside other processes.

    A call that was cut off may be made again: it goes on where the first one was. Every method raises
    ``BackendUnavailable`` when the pool is not there, and ``StateError`` when the ledger is damaged.

    Args:
        backend: where volumes are made.
        ledger: what is there.
    """

    def __init__(self, backend: PoolBackend, ledger: Ledger) -> None:
        self._backend = backend
        self._ledger = ledger

    @property
    def kind(self) -> str:
        """``btrfs``, ``reflink`` or ``copy``."""
        return self._backend.kind

    @property
    def cheap_clones(self) -> bool:
        """Whether the cost of a clone is independent of the size of its data."""
        return self._backend.cheap_clones

    @property
    def root(self) -> Path:
        """The directory of the pool."""
        return self._backend.place.root

    def path(self, name: str) -> Path:
        """Where a volume's files are.

        Raises:
            InvalidRequest: that is no name for a volume.
        """
        return self._backend.path(name)

    def create(self, name: str, *, record_size: int | None = None, job: str | None = None) -> Volume:
        """Make an empty data set.

        Args:
            name: fits ``VOLUME_NAME``.
            record_size: bytes of a record of its data, where the back end can use it.
            job: reference of the job that asks for it.

        Raises:
            VolumeExists: something of that name lies in the pool, and the ledger does not know it.
            PoolFull: nothing is left of it.
        """

        def effect() -> None:
            self._backend.create(name, record_size)

        return self._make(name, VolumeKind.DATA_SET, effect, record_size=record_size, job=job)

    def snapshot(self, source: str, name: str, *, job: str | None = None) -> Volume:
        """Keep the present state of a data set or clone.

        Args:
            source: its name.
            name: of the snapshot.
            job: reference of the job that asks for it.

        Raises:
            VolumeMissing: the source is not there.
            VolumeExists, PoolFull: see :meth:`create`.
        """

        def effect() -> None:
            self._backend.snapshot(source, name)

        return self._make(name, VolumeKind.SNAPSHOT, effect, parent=source, job=job)

    def clone(self, snapshot: str, name: str, *, job: str | None = None) -> Volume:
        """Make a writable volume with the state of a snapshot; it has the record size of its origin.

        Args:
            snapshot: its name.
            name: of the clone.
            job: reference of the job that asks for it.

        Raises:
            InvalidRequest: that is no snapshot.
            VolumeMissing: the snapshot is not there.
            VolumeExists, PoolFull: see :meth:`create`.
        """

        def effect() -> None:
            self._backend.clone(snapshot, name)

        return self._make(name, VolumeKind.CLONE, effect, parent=snapshot, job=job)

    def delete(self, name: str) -> None:
        """Delete a volume; one that neither the ledger nor the pool has is gone already, which is no error.

        Raises:
            VolumeInUse: names what depends on it, and where it is mounted.
            NotFound: it lies in the pool, but the ledger does not name it.
        """
        with self._backend.place.lock(name):
            entry = self._ledger.get(_VOLUME, name)
            if entry is None and name not in self._backend.names():
                return
            if entry is not None:
                self._refuse_if_mounted(name)
            try:
                self._ledger.removing(_VOLUME, name)
            except StillNeeded as needed:
                raise _in_use(name, [f"{one.kind} {one.name}" for one in needed.dependants]) from None
            self._backend.delete(name)
            self._ledger.gone(_VOLUME, name)

    def discard_stranger(self, name: str) -> bool:
        """Delete what lies in the pool though the ledger does not name it, because a person asked for that.

        False where it is gone, or the ledger names it by now.

        Raises:
            VolumeInUse: it is mounted; names where.
        """
        with self._backend.place.lock(name):
            if self._ledger.get(_VOLUME, name) is not None or name not in self._backend.names():
                return False
            self._refuse_if_mounted(name)
            self._backend.delete(name)
            return True

    def size(self, name: str) -> Size:
        """What a volume takes; every file of it is asked.

        Raises:
            VolumeMissing: it is not there.
        """
        self._require(name)
        return self._backend.size(name)

    def volumes(self) -> list[Volume]:
        """Every volume that the ledger names, in the order in which they were made."""
        there = self._backend.names()
        return [self._volume(entry, entry.name in there) for entry in self._ledger.entries(kind=_VOLUME)]

    def strangers(self) -> list[str]:
        """What lies in the pool though the ledger does not name it. It is left alone."""
        named = {entry.name for entry in self._ledger.entries(kind=_VOLUME)}
        return sorted(self._backend.names() - named)

    def health(self) -> Health:
        """What can still be written, and what is wrong."""
        return self._backend.health()

    def recover(self) -> Recovery:
        """Finish or undo what was begun by a process that is no longer there.

        What another process is at work on is left to it.
        """
        self._ledger.verify()
        self._backend.place.check()
        finished, undone, deleted, under_way = [], [], [], []
        for entry in reversed(self._ledger.entries(kind=_VOLUME)):  # what depends on others goes first
            if entry.state is State.PRESENT:
                continue
            with self._backend.place.lock(entry.name, wait=False) as alone:
                current = self._ledger.get(_VOLUME, entry.name)
                if not alone:
                    under_way.append(entry.name)
                elif current is None or current.state is State.PRESENT:
                    continue  # whoever was at work has finished meanwhile
                elif current.state is State.REMOVING:
                    self._backend.delete(entry.name)
                    self._ledger.gone(_VOLUME, entry.name)
                    deleted.append(entry.name)
                elif entry.name in self._backend.names():
                    if current.details["what"] == VolumeKind.DATA_SET:
                        self._backend.create(entry.name, current.details["record_size"])  # its last touches
                    self._ledger.present(_VOLUME, entry.name)
                    finished.append(entry.name)
                else:
                    self._backend.delete(entry.name)  # what a copy that was cut off has left
                    self._ledger.gone(_VOLUME, entry.name)
                    undone.append(entry.name)
        return Recovery(tuple(finished), tuple(undone), tuple(deleted), tuple(under_way))

    def _make(
        self,
        name: str,
        kind: VolumeKind,
        effect: Callable[[], None],
        *,
        parent: str | None = None,
        record_size: int | None = None,
        job: str | None,
    ) -> Volume:
        self._backend.path(name)
        with self._backend.place.lock(name):
            if parent is not None:
                record_size = self._origin(parent, kind, name)
            entry = self._ledger.get(_VOLUME, name)
            there = name in self._backend.names()
            if entry is None and there:
                raise VolumeExists(
                    f"The {kind} {name} cannot be made: something of that name lies at "
                    f"{self._backend.path(name)}, and the ledger does not name it.",
                    "See what it is, and move it out of the pool.",
                )
            details = {"what": kind, "record_size": record_size}
            if entry is not None and entry.details.get("what") != kind:
                raise VolumeExists(
                    f"The {kind} {name} cannot be made: there is a {entry.details.get('what')} of that name.",
                    "Choose another name.",
                )
            if entry is not None and entry.state is State.PRESENT:
                if not there:
                    raise _missing(name, self._backend.path(name))
                return self._volume(entry, there)
            if entry is not None and entry.state is State.REMOVING:
                self._backend.delete(name)  # what is left of it is not what is asked for now
                self._ledger.gone(_VOLUME, name)
            self._ledger.intend(_VOLUME, name, parent=parent, details=details, job=job)
            try:
                effect()
            except Exception:
                with contextlib.suppress(RemoteError):  # else it is left to the next recovery
                    self._backend.delete(name)
                    self._ledger.gone(_VOLUME, name)
                raise
            return self._volume(self._ledger.present(_VOLUME, name), there=True)

    def _origin(self, parent: str, kind: VolumeKind, name: str) -> int | None:
        """That a volume can be made from ``parent``; the record size that it has then."""
        origin = self._require(parent)
        is_snapshot = origin.details.get("what") == VolumeKind.SNAPSHOT
        if is_snapshot != (kind is VolumeKind.CLONE):
            wanted = "a snapshot" if kind is VolumeKind.CLONE else "a data set or clone"
            raise InvalidRequest(
                f"The {kind} {name} cannot be made: {parent} is a {origin.details.get('what')}.",
                f"Name {wanted}.",
            )
        size: int | None = origin.details.get("record_size")
        return size

    def _require(self, name: str) -> Entry:
        entry = self._ledger.get(_VOLUME, name)
        if entry is None:
            raise VolumeMissing(
                f"The ledger names no volume {name}.", "See what there is: dlpx-remote storage list."
            )
        if entry.state is not State.PRESENT or name not in self._backend.names():
            raise _missing(name, self._backend.path(name))
        return entry

    def _refuse_if_mounted(self, name: str) -> None:
        path = self._backend.path(name)
        mounted = mounts_within(path.resolve())
        if mounted:
            raise _in_use(name, [f"mount {point}" for point in mounted])

    def _volume(self, entry: Entry, there: bool) -> Volume:
        return Volume(
            name=entry.name,
            kind=VolumeKind(entry.details["what"]),
            state=entry.state,
            parent=entry.parent,
            path=self._backend.path(entry.name),
            there=there,
            record_size=entry.details.get("record_size"),
            job=entry.job,
            made=entry.intended,
        )


def _missing(name: str, path: Path) -> VolumeMissing:
    return VolumeMissing(
        f"The volume {name} is not there: {path} is missing, or was never finished.",
        "See what dlpx-remote doctor says; if its data is lost, delete it and make it anew.",
    )


def _in_use(name: str, dependants: list[str]) -> VolumeInUse:
    return VolumeInUse(
        f"The volume {name} is still in use by {', '.join(dependants)}.",
        "Take those away first.",
        dependants=tuple(dependants),
    )
