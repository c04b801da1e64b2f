"""From a snapshot to a mounted clone on a real host, and reading and writing there.

The host is the virtual machine of ``containers/nfs-vm``, emulated where the machine has no virtualization, so
that times are those of a slow host. The peer is the same server's export, mounted there by hand.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.records import Record, Target, judge
from dlpx_remote.mounts.base import Owner
from dlpx_remote.storage.initialise import PoolChoice, initialise, open_pool
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store import Settings
from tests.nfs.mounts_world import NfsWorld, nfs_world, on
from tests.nfs.vm_host import VmHost, vm_host

ROUNDS = 3
MOUNTED, SPARSE, READ, WRITE = "mounted", "mounted-sparse", "read", "write"
MEASURES = [MOUNTED, SPARSE, READ, WRITE]

_OWNER = Owner(1000, 1000)
_FILES = 1000
_SIZE = 64  # MiB that are read and written
_RULE = "engine ALL=(root) NOPASSWD: ALL"


@dataclass(frozen=True)
class _Place:
    host: VmHost
    world: NfsWorld
    pool: Pool

    def mount(self, snapshot: str) -> float:
        """Clone, export and mount with another owner; seconds. It stays."""
        began = time.perf_counter()
        clone = self.pool.clone(snapshot, "clone")
        self.world.mounts.attach("clone", clone.path, [on("one", "/srv/clone")], owner=_OWNER)
        return time.perf_counter() - began

    def remove(self) -> None:
        self.world.mounts.detach("clone")
        self.pool.delete("clone")

    def copied(self, command: str) -> float:
        """MiB/s of a dd there, by the host's own clock."""
        timed = f"a=$(date +%s%N); {command} 2>/dev/null; b=$(date +%s%N); echo $((b-a))"
        took = self.host.root(f"sync; echo 3 >/proc/sys/vm/drop_caches; {timed}")
        return _SIZE / (int(took) / 1e9)


def run(only: Sequence[str], rounds: int | None, console: Console) -> list[Record]:
    """Take the measures named; see :mod:`benchmarks.__main__`."""
    rounds = rounds or ROUNDS
    records = []
    with _place() as place:
        place.mount("files-snapshot")  # starts the server, and opens the connection
        place.remove()
        for measure, snapshot, title in (
            (MOUNTED, "files-snapshot", f"clone of {_FILES:,} files, exported and mounted on a host"),
            (SPARSE, "sparse-snapshot", "the same of a sparse file of 1 TiB"),
        ):
            if measure not in only:
                continue
            taken = []
            for _ in range(rounds):
                console.print(measure, highlight=False)
                taken.append(place.mount(snapshot))
                place.remove()
            target = Target("at most", 2, kind="value")
            records.append(
                judge(
                    measure=measure,
                    title=title,
                    unit="s",
                    ours="engine",
                    rounds={"engine": taken},
                    targets=(target,),
                    failures={},
                )
            )
        if READ in only or WRITE in only:
            records += _bulk(place, only, rounds, console)
    return records


def _bulk(place: _Place, only: Sequence[str], rounds: int, console: Console) -> list[Record]:
    place.mount("files-snapshot")
    port = place.world.server.port
    options = f"vers=4.1,rw,hard,proto=tcp,rsize=1048576,wsize=1048576,timeo=600,port={port}"
    place.host.root(f"mkdir -p /srv/hand; mount -t nfs -o {options} 10.0.2.2:/dlpx/clone.one /srv/hand")
    ways = {"engine": "/srv/clone", "by hand": "/srv/hand"}
    commands = {
        WRITE: f"runuser -u engine -- dd if=/dev/zero of={{}}/bulk bs=1M count={_SIZE} conv=fsync",
        READ: "runuser -u engine -- dd if={}/bulk of=/dev/null bs=1M",
    }
    records = []
    place.copied(commands[WRITE].format("/srv/hand"))
    for measure, command in commands.items():
        if measure not in only:
            continue
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds):
            console.print(f"{measure} {number + 1}", highlight=False)
            for way, directory in list(ways.items())[:: 1 if number % 2 == 0 else -1]:
                taken[way].append(place.copied(command.format(directory)))
        records.append(
            judge(
                measure=measure,
                title=f"sequential {measure} of {_SIZE} MiB through the mount",
                unit="MiB/s",
                ours="engine",
                rounds=taken,
                targets=(Target("at least", 0.95, "by hand"),),
                failures={},
            )
        )
    place.host.root("umount /srv/hand")
    place.remove()
    return records


@contextmanager
def _place() -> Iterator[_Place]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        host = stack.enter_context(vm_host(directory))
        host.root(f"echo '{_RULE}' >/etc/sudoers.d/engine")
        world = stack.enter_context(nfs_world([host]))
        settings = Settings(world.store)
        initialise(PoolChoice(world.pool / "pool", kind="btrfs"), settings, world.ledger)
        pool = open_pool(settings, world.ledger)
        for name in ("files", "sparse"):
            pool.create(name)
        for number in range(_FILES):
            (pool.path("files") / f"{number}").write_bytes(b"x" * 100)
        with (pool.path("sparse") / "file").open("wb") as file:
            file.truncate(1024**4)
        for name in ("files", "sparse"):
            pool.snapshot(name, f"{name}-snapshot")
        yield _Place(host, world, pool)
