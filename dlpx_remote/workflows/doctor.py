"""What the engine's machine can do, what is missing for the rest, and where the ledger and reality differ.

Nothing is repaired, made or deleted here; only a pool that is not mounted is mounted.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dlpx_remote.errors import RemoteError
from dlpx_remote.mounts import kernelmounts
from dlpx_remote.mounts.base import Exporter
from dlpx_remote.mounts.leftovers import Leftover
from dlpx_remote.mounts.presentation import Presentations
from dlpx_remote.storage.devices import program
from dlpx_remote.storage.initialise import best_kind, configured, open_pool
from dlpx_remote.storage.pool import Pool
from dlpx_remote.storage.room import in_words
from dlpx_remote.store import Kind, Ledger, Settings
from dlpx_remote.workflows.differences import Finding, HostTable, Standing, differences

NFS_PORT = 2049
_LITTLE = 1024**3  # bytes; the state with its logs and plugins takes some hundred megabytes
_NOBODY = 65534


def examine(
    settings: Settings,
    ledger: Ledger,
    state: Path,
    *,
    presentations: Presentations,
    exporters: Mapping[str, Exporter],
    hosts: Iterable[HostTable] = (),
    leftovers: Iterable[Leftover] = (),
) -> list[Finding]:
    """Look at everything.

    Args:
        settings: of the engine.
        ledger: of the engine.
        state: its state directory.
        presentations: of the engine.
        exporters: the servers that it uses, by kind.
        hosts: mount tables of hosts that are to be looked at.
        leftovers: processes that nothing needs.
    """
    findings = [*_machine(state), *_storage(), *_nfs(exporters, _exports_of(ledger))]
    findings += [
        Finding(
            "NFS",
            f"process {one.process}",
            "wrong",
            f"{one.program}: {one.why}",
            "End it: dlpx-remote doctor --repair",
        )
        for one in leftovers
    ]
    pool: Pool | None = None
    try:
        if configured(settings) is None:
            findings.append(
                Finding(
                    "storage",
                    "pool",
                    "missing",
                    "none prepared",
                    "dlpx-remote storage init /srv/dlpx-pool --image /srv/dlpx-pool.img --size 100G",
                )
            )
        else:
            pool = open_pool(settings, ledger)
            findings += _pool(pool)
    except RemoteError as error:
        findings.append(_wrong("storage", "pool", error))
    findings.append(_maps_owners(state if pool is None else pool.root))
    try:
        ledger.verify()
        found = differences(ledger, pool, presentations=presentations, exporters=exporters, hosts=hosts)
        findings += found or [Finding("ledger", "the ledger", "ok", "agrees with what is there")]
    except RemoteError as error:
        findings.append(_wrong("ledger", "the ledger", error))
    return findings


def _machine(state: Path) -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("machine", "account", "ok", "root")
    else:
        yield Finding(
            "machine",
            "account",
            "missing",
            "an ordinary account: discovery and commands work, storage and exports do not",
            "Run dlpx-remote as root on this machine.",
        )
    free = shutil.disk_usage(state).free
    if free < _LITTLE:
        yield Finding(
            "machine",
            "room for the state",
            "wrong",
            f"{in_words(free)} free in {state}",
            "Free some space, or use another state directory (--state).",
        )
    else:
        yield Finding("machine", "room for the state", "ok", f"{in_words(free)} free in {state}")
    yield _program("machine", "rsync", "rsync", "run_sync of plugins that link directly")
    yield _program("machine", "docker", "docker.io", "dlpx-remote demo")


def _maps_owners(directory: Path) -> Finding:
    """Found out by mounting an empty directory with another owner, for a moment."""
    what = "owners mapped by a mount"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=directory) as trial:
            source, target = Path(trial) / "source", Path(trial) / "target"
            source.mkdir()
            target.mkdir()
            kernelmounts.bind(source, target, (0, _NOBODY), (0, _NOBODY))
            try:
                mapped = target.stat().st_uid == _NOBODY
            finally:
                kernelmounts.unmount(target)
    except OSError as error:
        words = f"{error.strerror} in {directory}: owners are changed file by file"
        action = "As root, use Linux 5.15 or later, and a file system that can (Btrfs, XFS, ext4)."
        return Finding("storage", what, "missing", words, action)
    if not mapped:
        return Finding("storage", what, "wrong", f"{directory} shows the stored owner", "Report this.")
    return Finding("storage", what, "ok", f"tried in {directory}")


def _storage() -> Iterator[Finding]:
    known = Path("/proc/filesystems").read_text().split()
    if "btrfs" in known or _module("btrfs"):
        yield Finding("storage", "Btrfs in the kernel", "ok", "a clone takes milliseconds and no space")
    else:
        yield Finding(
            "storage",
            "Btrfs in the kernel",
            "missing",
            "there are only reflinks (on XFS) and copies",
            "Use a kernel with Btrfs (that of Debian, Ubuntu, SUSE and Fedora has it).",
        )
    yield _program("storage", "mkfs.btrfs", "btrfs-progs", "making a pool on a device or in a file")
    if Path("/dev/loop-control").exists():
        yield Finding("storage", "loop devices", "ok", "/dev/loop-control is there")
    else:
        yield Finding(
            "storage",
            "loop devices",
            "missing",
            "no pool in a file",
            "Load the module (modprobe loop), or prepare the pool on a device or in a directory.",
        )
    yield _program("storage", "setpriv", "util-linux", "copies and reflinks")


def _module(name: str) -> bool:
    release = os.uname().release
    listing = Path("/lib/modules") / release / "modules.dep"
    return listing.exists() and f"/{name}.ko" in listing.read_text()


def _nfs(exporters: Mapping[str, Exporter], used: set[str]) -> Iterator[Finding]:
    ganesha = _program("NFS", "ganesha.nfsd", "nfs-ganesha nfs-ganesha-vfs", "exports by NFS-Ganesha")
    yield ganesha
    if ganesha.standing == "ok":
        yield _program("NFS", "dbus-daemon", "dbus", "adding exports to a running Ganesha")
    yield _program("NFS", "exportfs", "nfs-kernel-server", "exports by the kernel")
    if "nfsd" in Path("/proc/filesystems").read_text().split() or _module("nfsd"):
        yield Finding("NFS", "NFS server in the kernel", "ok", "nfsd")
    else:
        yield Finding(
            "NFS",
            "NFS server in the kernel",
            "missing",
            "this kernel has no nfsd: exports by NFS-Ganesha only",
            "Install NFS-Ganesha, or use a kernel with nfsd.",
        )
    yield Finding("NFS", f"port {NFS_PORT}", "ok", "in use" if _listens(NFS_PORT) else "free")
    for kind, exporter in exporters.items():
        if kind == "local":
            continue
        problems = exporter.problems()
        if problems:
            standing: Standing = "wrong" if kind in used else "missing"
            action = "Until then nothing can be exported." if kind not in used else "Hosts wait for it."
            yield Finding("NFS", f"the server ({kind})", standing, " ".join(problems), action)
        else:
            words = (
                "serves what it should" if kind in used else "nothing is exported; it is started on demand"
            )
            yield Finding("NFS", f"the server ({kind})", "ok", words)


def _exports_of(ledger: Ledger) -> set[str]:
    """Kinds of servers that something is exported by; a ledger that cannot be read is said elsewhere."""
    try:
        return {str(entry.details.get("kind")) for entry in ledger.entries(kind=Kind.EXPORT)}
    except RemoteError:
        return set()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _pool(pool: Pool) -> Iterator[Finding]:
    health = pool.health()
    words = f"{pool.kind}, {in_words(health.free)} of {in_words(health.total)} free"
    yield Finding("storage", "pool", "ok", words)
    for problem in health.problems:
        yield Finding("storage", "pool", "wrong", problem)
    better = best_kind(pool.root)
    if better != pool.kind and pool.kind == "copy":
        yield Finding(
            "storage",
            "back end",
            "missing",
            f"clones are copied in full, though this file system allows {better}",
            f"Delete the volumes and prepare the pool anew: storage init … --backend {better}",
        )
    elif not pool.cheap_clones:
        yield Finding(
            "storage",
            "back end",
            "missing",
            "clones are copied in full",
            "Prepare a pool on Btrfs: storage init … --image FILE --size SIZE, or --device DEVICE.",
        )


def _program(area: str, name: str, package: str, purpose: str) -> Finding:
    path = program(name)
    if path is not None:
        return Finding(area, name, "ok", f"{path} ({purpose})")
    return Finding(area, name, "missing", f"needed for {purpose}", f"apt-get install {package}")


def _wrong(area: str, what: str, error: RemoteError) -> Finding:
    return Finding(area, what, "wrong", error.message, error.action)
