"""Where the ledger and reality differ: volumes, exports and mounts that one of the two does not know.

Looks only. What is found is for a person to decide about: the engine neither deletes what it does not name,
nor makes anew what somebody has taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from dlpx_remote.environments.model import Environment, HostType
from dlpx_remote.errors import RemoteError
from dlpx_remote.mounts import mountinfo
from dlpx_remote.mounts.base import Exporter
from dlpx_remote.mounts.mountinfo import MountEntry
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.mounts.records import MountRecord
from dlpx_remote.storage.mount_table import mounts_within
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Entry, Kind, Ledger, State
from dlpx_remote.transports.base import Connection

Standing = Literal["ok", "missing", "wrong"]

_AREA = "ledger"
_AT_ONCE = 16
_PATIENCE = 30.0  # seconds; reading the mount table never waits for a dead server


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: what it belongs to: ``machine``, ``storage``, ``NFS``, ``ledger``.
        what: was looked at.
        standing: ``ok``; ``missing``: something cannot be done; ``wrong``: somebody has to act.
        words: what was found.
        action: what to do about it; empty where it is ok.
    """

    area: str
    what: str
    standing: Standing
    words: str
    action: str = ""


@dataclass(frozen=True)
class HostTable:
    """The mount table of a host, or why it could not be read.

    Attributes:
        environment: reference of the environment.
        name: of the environment.
        mounts: the table; empty where it could not be read.
        error: why it could not.
        user: reference of the user that asked.
    """

    environment: str
    name: str
    mounts: Sequence[MountEntry] = ()
    error: RemoteError | None = None
    user: str = ""

    def strays(self, ledger: Ledger) -> list[MountEntry]:
        """What is mounted from an export for this host, and is in no entry of the ledger."""
        known = {record.path for _, record in mounts_of(ledger, self.environment)}
        mark = f".{self.environment}"  # as an export is called: VOLUME.ENVIRONMENT, or with a part after it
        return [
            mount
            for mount in self.mounts
            if mount.file_system.startswith("nfs")
            and f"{mount.source.rpartition('/')[2]}.".find(f"{mark}.") > 0
            and mount.point not in known
        ]


def differences(
    ledger: Ledger,
    pool: Pool | None,
    *,
    presentations: Presentations,
    exporters: Mapping[str, Exporter],
    hosts: Iterable[HostTable] = (),
) -> list[Finding]:
    """Compare the ledger with what there is.

    Args:
        ledger: of the engine.
        pool: of the engine; None where there is none to look at.
        presentations: of the engine.
        exporters: the servers that it uses, by kind.
        hosts: mount tables of hosts; of others nothing is said.
    """
    findings: list[Finding] = []
    if pool is not None:
        there = {volume.name for volume in pool.volumes() if volume.there} | set(pool.strangers())
        findings += _compared(Kind.VOLUME, ledger.entries(kind=Kind.VOLUME), there, f"in {pool.root}")
    presented = ledger.entries(kind=Kind.PRESENTATION)
    findings += _compared(Kind.PRESENTATION, presented, presentations.names(), "mounted here")
    for kind, exporter in exporters.items():
        entries = [entry for entry in ledger.entries(kind=Kind.EXPORT) if entry.details.get("kind") == kind]
        try:
            served = exporter.names()
        except RemoteError as error:
            findings.append(Finding(_AREA, f"exports of {kind}", "wrong", error.message, error.action))
        else:
            findings += _compared(Kind.EXPORT, entries, served, f"served by {kind}")
    if pool is not None:
        findings += [
            _unknown(f"mount of {volume}", f"at {point} on this machine")
            for volume, point in mounts_here(ledger, pool, presentations)
        ]
    for host in hosts:
        findings += _mounted_on(host, ledger)
    return findings


def mount_tables(
    environments: Iterable[Environment], connection: Callable[[str, str], Connection]
) -> list[HostTable]:
    """Read the mount tables of all Unix hosts, several at once.

    Args:
        environments: whose hosts to ask.
        connection: opens one, by references of environment and user.
    """

    def read(environment: Environment) -> HostTable:
        try:
            user = environment.primary_user
            result = connection(environment.reference, user.reference).run(
                "cat /proc/self/mountinfo", timeout=_PATIENCE
            )
        except RemoteError as error:
            return HostTable(environment.reference, environment.name, error=error)
        table = mountinfo.parse(result.stdout)
        return HostTable(environment.reference, environment.name, table, user=user.reference)

    unix = [one for one in environments if one.host_type is HostType.UNIX]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(read, unix))


def _compared(kind: Kind, entries: list[Entry], there: Iterable[str], where: str) -> Iterator[Finding]:
    present = set(there)
    for entry in entries:
        what = f"{kind} {entry.name}"
        if entry.state is not State.PRESENT:
            yield _unfinished(entry)
        elif entry.name not in present:
            yield _gone(what, where)
    for name in sorted(present - {entry.name for entry in entries}):
        yield _unknown(f"{kind} {name}", where)


def _mounted_on(host: HostTable, ledger: Ledger) -> Iterator[Finding]:
    if host.error is not None:
        yield Finding(
            _AREA,
            f"mounts on {host.name}",
            "wrong",
            host.error.message,
            host.error.action or f"Find out more: dlpx-remote env test {host.name}",
        )
        return
    for entry, record in mounts_of(ledger, host.environment):
        if entry.state is not State.PRESENT:
            yield _unfinished(entry)
        elif not mountinfo.at(host.mounts, record.path):
            yield _gone(f"mount {record.path}", f"on {host.name}")
    for mount in host.strays(ledger):
        yield _unknown(f"mount {mount.point}", f"on {host.name}, from {mount.source}")


def mounts_of(ledger: Ledger, environment: str | None = None) -> list[tuple[Entry, MountRecord]]:
    """The mounts that the ledger names: those on one environment by reference, or all."""
    found = [(entry, MountRecord.of(entry.details)) for entry in ledger.entries(kind=Kind.MOUNT)]
    return [each for each in found if environment in (None, each[1].placement.environment)]


def mounts_here(ledger: Ledger, pool: Pool, presentations: Presentations) -> Iterator[tuple[str, str]]:
    """Mounts of volumes on this machine that nobody should have made: volume, mount point."""
    expected = {str(record.path) for _, record in mounts_of(ledger)}
    for volume in pool.volumes():
        own = str(presentations.path(volume.name).resolve())
        for point in mounts_within(volume.path.resolve()) if volume.there else ():
            if point != own and point not in expected:
                yield volume.name, point


def _unfinished(entry: Entry) -> Finding:
    return Finding(
        _AREA,
        f"{entry.kind} {entry.name}",
        "wrong",
        f"it was being {'removed' if entry.state is State.REMOVING else 'made'}, and is not finished",
        "If no job is at work on it, the next one finishes or undoes it; so does dlpx-remote storage status "
        "where it is a volume.",
    )


def _gone(what: str, where: str) -> Finding:
    return Finding(
        _AREA,
        what,
        "wrong",
        f"the ledger names it, but it is not {where}",
        "Find out who took it away. dlpx-remote doctor --repair --hosts shows what it would do about mounts "
        "on hosts; disabling and enabling what it belongs to makes exports and mounts anew.",
    )


def _unknown(what: str, where: str) -> Finding:
    return Finding(
        _AREA,
        what,
        "wrong",
        f"it is {where}, but the ledger does not name it; the engine leaves it alone",
        "See what it is, and what dlpx-remote doctor --repair would do, with --hosts for mounts on hosts.",
    )
