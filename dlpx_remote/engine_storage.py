"""The part of the engine's Python API that is about storage: preparing a pool, looking at it, the doctor."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dlpx_remote.engine_mounts import Nfs
from dlpx_remote.errors import InvalidRequest, RemoteError
from dlpx_remote.mounts.base import Exporter
from dlpx_remote.mounts.ganesha_server import GaneshaServer
from dlpx_remote.mounts.leftovers import Leftover, leftovers
from dlpx_remote.mounts.local import LocalExporter
from dlpx_remote.mounts.mending import Mending
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.storage.initialise import PoolChoice, configured, initialise, open_pool
from dlpx_remote.storage.pool import Pool, Recovery, Volume, VolumeKind
from dlpx_remote.storage.room import in_words
from dlpx_remote.store import Kind, Ledger, Settings, State, StateError, Store
from dlpx_remote.workflows.differences import Finding, HostTable
from dlpx_remote.workflows.doctor import examine
from dlpx_remote.workflows.repairing import ON_HOSTS, Repair, carry_out, plan, plan_hosts, plan_processes
from dlpx_remote.workflows.source_records import SourceRecords

__all__ = [
    "Finding",
    "PoolChoice",
    "Recovery",
    "Repair",
    "Storage",
    "StorageStatus",
    "VolumeDetails",
    "VolumeKind",
    "in_words",
]


@dataclass(frozen=True)
class StorageStatus:
    """The engine's pool.

    Attributes:
        kind: ``btrfs``, ``reflink`` or ``copy``.
        path: its directory.
        device: what is mounted there, if we made its file system on a device.
        image: the same, if in a file.
        cheap_clones: whether a clone shares its data with its snapshot.
        total: bytes of its file system.
        free: bytes that can still be written.
        volumes: how many there are.
        problems: a sentence each of what is wrong.
        recovered: what was finished or undone that a dead engine had begun.
    """

    kind: str
    path: Path
    device: Path | None
    image: Path | None
    cheap_clones: bool
    total: int
    free: int
    volumes: int
    problems: tuple[str, ...]
    recovered: Recovery


@dataclass(frozen=True)
class VolumeDetails:
    """A volume.

    Attributes:
        name: of the volume.
        kind: data set, snapshot or clone.
        parent: the volume that it was made from.
        state: ``present``; ``intended`` or ``removing`` while somebody is at work on it.
        there: whether its files are there.
        path: of its files.
        record_size: bytes of a record, where one was asked for.
        logical: bytes that its files hold; None where nobody asked.
        own: bytes that it shares with none; None where nobody asked or the back end cannot tell.
        job: the job that made it.
        made: when.
    """

    name: str
    kind: VolumeKind
    parent: str | None
    state: State
    there: bool
    path: Path
    record_size: int | None
    logical: int | None
    own: int | None
    job: str | None
    made: datetime


class Storage:
    """The storage of an open engine. Safe for use from several threads.

    Args:
        store: the engine's state.
        warn: told what a person ought to know although nothing failed.
        host_tables: reads the mount tables of all hosts.
        mending: opens what repairs mounts on hosts.
        busy: references of jobs that have not ended.
    """

    def __init__(
        self,
        store: Store,
        warn: Callable[[str], None],
        host_tables: Callable[[], Sequence[HostTable]],
        mending: Callable[[], Mending],
        busy: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self._busy = busy
        self._store = store
        self._warn = warn
        self._host_tables = host_tables
        self._mending = mending
        self._lock = threading.Lock()
        self._pool: tuple[Pool, Recovery] | None = None
        self.presentations = Presentations(store.directory / "present")
        self.ledger = Ledger(store)
        self.settings = Settings(store)

    def initialise(self, choice: PoolChoice) -> StorageStatus:
        """Prepare the pool; the same choice again changes nothing, or finishes what was cut off.

        Raises:
            InvalidRequest: the choice cannot be.
            AlreadyExists: this engine has another pool, with volumes.
            BackendUnavailable: a program, a device or a right is missing.
            StorageError: something is in the way that must not be overwritten.
        """
        with self._lock:
            initialise(choice, self.settings, self.ledger)
            self._pool = None
        status = self.status()
        if not status.cheap_clones:
            self._warn(
                f"{status.path} does not lie on Btrfs or XFS, so every snapshot and clone is a full copy: it "
                "takes the time and the space of its data, and no snapshot is of one moment. For more than a "
                "trial use Btrfs: storage init DIR --image FILE --size SIZE, or --device DEVICE."
            )
        return status

    def choice(self) -> PoolChoice | None:
        """What :meth:`initialise` was asked for; None where there is no pool. Nothing is opened for it."""
        known = configured(self.settings)
        if known is None:
            return None
        made_here = known.device is not None or known.image is not None
        return PoolChoice(
            known.path, None if made_here else known.kind, known.device, known.image, known.size
        )

    def pool(self) -> Pool:
        """The pool, mounted, with all finished or undone that a dead engine had begun.

        Raises:
            InvalidRequest: there is none yet.
            BackendUnavailable: it is not there.
        """
        return self._opened()[0]

    def status(self) -> StorageStatus:
        """What there is, and what is wrong; mounts the pool if it is not."""
        pool, recovered = self._opened()
        health = pool.health()
        known = configured(self.settings)
        return StorageStatus(
            kind=pool.kind,
            path=pool.root,
            device=known.device if known else None,
            image=known.image if known else None,
            cheap_clones=pool.cheap_clones,
            total=health.total,
            free=health.free,
            volumes=len(pool.volumes()),
            problems=health.problems,
            recovered=recovered,
        )

    def volumes(self, *, sizes: bool = False) -> list[VolumeDetails]:
        """Every volume that the ledger names.

        Args:
            sizes: whether to find out how large each is, which looks at every file.
        """
        pool = self.pool()
        return [_details(pool, volume, sizes) for volume in pool.volumes()]

    def doctor(self, *, hosts: bool = False) -> list[Finding]:
        """What this machine can do, what is missing, and where the ledger and reality differ.

        Args:
            hosts: whether to look at the mounts of all Unix hosts too, which connects to them.
        """
        with self._exporters() as exporters:
            return examine(
                self.settings,
                self.ledger,
                self._store.directory,
                presentations=self.presentations,
                exporters=exporters,
                hosts=self._host_tables() if hosts else (),
                leftovers=self._leftovers(),
            )

    def repairs(self, *, hosts: bool = False) -> list[Repair]:
        """What :meth:`repair` would do about differences; nothing is done.

        Args:
            hosts: whether about mounts on Unix hosts too, which connects to them.

        Raises:
            BackendUnavailable: the pool is not there.
            StateError: the ledger is damaged.
        """
        found = plan_processes(self._leftovers())
        if hosts:
            self.ledger.verify()
            found += plan_hosts(self._host_tables(), self.ledger, self._mending())
        if configured(self.settings) is None:
            return found
        records = SourceRecords(self._store)
        used = {footing.volume for source in records.all() for footing in source.footings}
        used |= {snapshot.reference for snapshot in records.snapshots()}
        with self._exporters() as exporters:
            pool = open_pool(self.settings, self.ledger)
            return [*found, *plan(self.ledger, pool, self.presentations, exporters, used)]

    def repair(self, repairs: Sequence[Repair], done: Callable[[Repair, str], None]) -> bool:
        """Do what a plan says, and nothing else; whether all of it could be done.

        Args:
            repairs: of :meth:`repairs`, those that a person agreed to.
            done: told of each how it went, in words.

        Raises:
            InvalidRequest: a job has not ended, which may be making what looks like an orphan.
        """
        busy = self._busy()
        if busy:
            raise InvalidRequest(
                f"Nothing is repaired while jobs run or wait: {', '.join(busy)}.",
                "Wait for their end, or cancel them; then look again.",
            )
        hosts = any(repair.way in ON_HOSTS for repair in repairs)
        still, all_done = self.repairs(hosts=hosts), True
        with self._exporters() as exporters:
            for repair in repairs:
                try:
                    changed = repair in still and carry_out(
                        repair,
                        self.ledger,
                        self.pool,
                        presentations=self.presentations,
                        exporters=exporters,
                        mending=self._mending,
                    )
                except RemoteError as error:
                    done(repair, str(error))
                    all_done = False
                else:
                    done(repair, "done" if changed else "left alone: it is not as it was")
        return all_done

    def _leftovers(self) -> list[Leftover]:
        try:
            exported = bool(self.ledger.entries(kind=Kind.EXPORT))
        except StateError:  # which is said elsewhere
            exported = True
        return leftovers(GaneshaServer(self._store.directory / "nfs"), exported=exported)

    @contextlib.contextmanager
    def _exporters(self) -> Iterator[dict[str, Exporter]]:
        nfs = Nfs(self._store)
        exporters: dict[str, Exporter] = {"local": LocalExporter(self._store.directory / "exports")}
        with contextlib.suppress(StateError):  # the doctor says so, too
            exporters[nfs.choice().kind] = nfs.exporter(None)
        try:
            yield exporters
        finally:
            nfs.close()

    def _opened(self) -> tuple[Pool, Recovery]:
        with self._lock:
            if self._pool is None:
                pool = open_pool(self.settings, self.ledger)
                self._pool = pool, pool.recover()
            return self._pool


def _details(pool: Pool, volume: Volume, sizes: bool) -> VolumeDetails:
    size = pool.size(volume.name) if sizes and volume.there and volume.state is State.PRESENT else None
    return VolumeDetails(
        name=volume.name,
        kind=volume.kind,
        parent=volume.parent,
        state=volume.state,
        there=volume.there,
        path=volume.path,
        record_size=volume.record_size,
        logical=size.logical if size else None,
        own=size.own if size else None,
        job=volume.job,
        made=volume.made,
    )
