"""Putting right where the ledger and reality differ: first a plan, and then what of it a person agreed to.

Each repair looks again, under the lock of what it is about, before it does anything: what has got its other
half meanwhile is left alone. What the ledger does not name is deleted only because a plan named it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlpx_remote.errors import RemoteError
from dlpx_remote.mounts import kernelmounts, leftovers, mountinfo
from dlpx_remote.mounts.base import Exporter, MountBusy
from dlpx_remote.mounts.leftovers import Leftover
from dlpx_remote.mounts.locks import exclusive
from dlpx_remote.mounts.mending import Mending, StrayMount
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Kind, Ledger, State
from dlpx_remote.workflows.differences import HostTable, mounts_here, mounts_of

Way = Literal[
    "delete stranger",
    "delete orphan",
    "forget",
    "unmount",
    "withdraw",
    "end",
    "unmount here",
    "unmount on host",
    "mount on host",
]

ON_HOSTS: tuple[Way, ...] = ("unmount on host", "mount on host")


@dataclass(frozen=True)
class Repair:
    """One thing that would be done.

    Attributes:
        way: which.
        name: of the volume, presentation or export.
        words: what it does and why, for people.
        deletes: whether data is lost by it.
        server: of an export, the kind of server that serves it.
        leftover: the process that is ended.
        stray: what is unmounted on a host.
    """

    way: Way
    name: str
    words: str
    deletes: bool = False
    server: str = ""
    leftover: Leftover | None = None
    stray: StrayMount | None = None


def plan_processes(found: Iterable[Leftover]) -> list[Repair]:
    """What would be done about processes that nothing needs."""
    return [
        Repair(
            "end",
            f"{one.program} {one.process}",
            f"end the process {one.process} ({one.program}): {one.why}",
            leftover=one,
        )
        for one in found
    ]


def plan_hosts(hosts: Iterable[HostTable], ledger: Ledger, mending: Mending) -> list[Repair]:
    """What would be done about mounts on hosts; of hosts that do not answer nothing is planned.

    Args:
        hosts: their mount tables.
        ledger: of the engine.
        mending: what would do it.
    """
    found: list[Repair] = []
    for host in hosts:
        if host.error is not None:
            continue  # the doctor says so
        for entry, record in mounts_of(ledger, host.environment):
            if entry.state is State.PRESENT and not mountinfo.at(host.mounts, record.path):
                words = f"mount {entry.parent} again at {record.path} on {host.name}, as the ledger names it"
                found.append(Repair("mount on host", entry.name, words))
        for mount in host.strays(ledger):
            stray = StrayMount(host.environment, host.user, mount.point, mount.source)
            try:
                ours = mending.is_ours(stray, mount.value("port"))
            except RemoteError:
                continue
            if ours:
                words = (
                    f"unmount {mount.source} at {mount.point} on {host.name}, which the ledger does not name"
                )
                name = f"{host.name}:{mount.point}"
                found.append(Repair("unmount on host", name, f"{words}; no data is lost", stray=stray))
    return found


def plan(
    ledger: Ledger,
    pool: Pool,
    presentations: Presentations,
    exporters: Mapping[str, Exporter],
    used: Collection[str],
) -> list[Repair]:
    """What would be done, in its order.

    Args:
        ledger: of the engine.
        pool: of the engine.
        presentations: of the engine.
        exporters: the servers that it uses, by kind.
        used: names of the volumes that dSources, VDBs and snapshots stand on.
    """
    ledger.verify()
    return [
        *_served(ledger, exporters),
        *_mounted(ledger, presentations),
        *_mounted_elsewhere(ledger, pool, presentations),
        *_volumes(ledger, pool, used),
    ]


def carry_out(
    repair: Repair,
    ledger: Ledger,
    pool: Callable[[], Pool],
    *,
    presentations: Presentations,
    exporters: Mapping[str, Exporter],
    mending: Callable[[], Mending],
) -> bool:
    """Do one repair of a plan; False where there is nothing left to repair.

    Args:
        repair: which.
        ledger, pool, presentations, exporters: of the engine.
        mending: opens what repairs mounts on hosts.

    Raises:
        VolumeInUse: something depends on the volume by now.
        RemoteError: it cannot be done.
    """
    match repair.way:
        case "delete stranger":
            return pool().discard_stranger(repair.name)
        case "delete orphan" | "forget":
            entry = ledger.get(Kind.VOLUME, repair.name)
            if entry is None:
                return False
            pool().delete(repair.name)
        case "unmount":
            with exclusive(presentations.path(f".{repair.name}.lock")):
                if ledger.get(Kind.PRESENTATION, repair.name) is not None:
                    return False
                presentations.withdraw(repair.name)
        case "withdraw":
            if ledger.get(Kind.EXPORT, repair.name) is not None:
                return False
            exporters[repair.server].remove(repair.name)
        case "end":
            return repair.leftover is not None and leftovers.end(repair.leftover)
        case "unmount here":
            return _unmount_here(repair.name)
        case "unmount on host":
            return repair.stray is not None and mending().unmount(repair.stray)
        case "mount on host":
            return mending().mount_again(repair.name)
    return True


def _served(ledger: Ledger, exporters: Mapping[str, Exporter]) -> Iterator[Repair]:
    for kind, exporter in exporters.items():
        known = {
            entry.name
            for entry in ledger.entries(kind=Kind.EXPORT)
            if entry.details.get("kind", kind) == kind
        }
        try:
            served = exporter.names()
        except RemoteError:
            continue  # the doctor says so
        for name in sorted(served - known):
            words = f"stop serving {name} ({kind}), which the ledger does not name; no data is lost"
            yield Repair("withdraw", name, words, server=kind)


def _mounted(ledger: Ledger, presentations: Presentations) -> Iterator[Repair]:
    known = {entry.name for entry in ledger.entries(kind=Kind.PRESENTATION)}
    for name in sorted(presentations.names() - known):
        place = presentations.path(name)
        yield Repair("unmount", name, f"unmount {place}, which the ledger does not name; no data is lost")


def _mounted_elsewhere(ledger: Ledger, pool: Pool, presentations: Presentations) -> Iterator[Repair]:
    own = presentations.path("").resolve()
    for volume, point in mounts_here(ledger, pool, presentations):
        if Path(point).parent == own:
            continue  # a presentation, of which more is known
        words = f"unmount {point} (a mount of {volume}), which the ledger does not name; no data is lost"
        yield Repair("unmount here", point, words)


def _unmount_here(point: str) -> bool:
    if not mountinfo.at(mountinfo.here(), point):
        return False
    try:
        kernelmounts.unmount(Path(point))
    except OSError as error:
        raise MountBusy(
            f"{point} cannot be unmounted: {error.strerror}.", f"See who uses it: fuser -vm {point}"
        ) from error
    return True


def _volumes(ledger: Ledger, pool: Pool, used: Collection[str]) -> Iterator[Repair]:
    for name in pool.strangers():
        place = pool.path(name)
        held = sum(1 for _ in place.iterdir()) if place.is_dir() else 0
        words = f"DELETE {place} ({held} entries), which the ledger does not name"
        yield Repair("delete stranger", name, words, deletes=True)
    parents = {entry.parent for entry in ledger.entries()}
    for volume in reversed(pool.volumes()):  # what was made of others goes first
        if volume.state is not State.PRESENT or volume.name in used or volume.name in parents:
            continue
        if volume.there:
            words = f"DELETE {volume.path}, on which no dSource, VDB or snapshot stands"
            yield Repair("delete orphan", volume.name, words, deletes=True)
        else:
            words = f"forget the {volume.kind} {volume.name}, which is not in the pool and which nothing uses"
            yield Repair("forget", volume.name, words)
