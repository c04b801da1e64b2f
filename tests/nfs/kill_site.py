"""The place of the kill sweep over NFS: pool, NFS server, host; as an engine opens it, and from outside."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import check_output

from dlpx_remote.demo.loopback import free_port
from dlpx_remote.mounts import mountinfo
from dlpx_remote.mounts.base import Owner
from dlpx_remote.mounts.ganesha import GaneshaExporter
from dlpx_remote.mounts.ganesha_bus import ExportManager, ServerAway
from dlpx_remote.mounts.ganesha_server import GaneshaServer
from dlpx_remote.storage.initialise import backend_for
from dlpx_remote.storage.place import Place
from dlpx_remote.storage.pool import Pool
from dlpx_remote.store.ledger import Kind, Ledger, State
from tests.hosts.transports.test_files import target_of_host
from tests.nfs.mounts_world import NfsWorld
from tests.nfs.vm_host import VmHost
from tests.storage.file_systems import in_memory, mounted

AREA = "/srv/at"
"""Where everything is mounted on the host."""
_PATIENCE = 20.0
_AT_WORK = """
for _ in $(seq 100); do
    found=$(pgrep -a -u engine || true; pgrep -a '^u?mount' || true)
    [ -n "$found" ] || exit 0
    sleep 0.2
done
echo "$found"
"""


@dataclass(frozen=True)
class Opened:
    """The rooms of one engine on a site."""

    world: NfsWorld
    pool: Pool
    owner: Owner


@dataclass(frozen=True)
class Seen:
    """What is there, looked at from outside; or what there ought to be.

    Attributes:
        volumes: Btrfs subvolumes of the pool.
        presented: mounts of the engine's machine.
        exported: what the NFS server says that it serves.
        files: in the directory that the server reads when it starts, and of exports that it was not told to
            give up.
        mounts: the host's mount points.
        directories: the host's.
    """

    volumes: frozenset[str]
    presented: frozenset[str]
    exported: frozenset[str]
    files: frozenset[str]
    mounts: tuple[str, ...]
    directories: frozenset[str]


class Site:
    """A data set with a snapshot, an NFS server, and a host that mounts.

    Args:
        directory: for the state.
        pool: a directory on Btrfs.
        host: a machine that has :data:`AREA`.
    """

    def __init__(self, directory: Path, pool: Path, host: VmHost) -> None:
        self.host = host
        self.server = GaneshaServer(directory / "nfs", address="127.0.0.1", port=free_port("127.0.0.1"))
        identifier = str(uuid.uuid4())
        self._place = Place(pool / "pool", identifier)
        self._place.prepare(identifier)
        self._directory = directory
        uid, gid = host.root("id -u engine; id -g engine").split()
        self._owner = Owner(int(uid), int(gid))

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """What an engine has that has just started, for the ``with`` block."""
        exporter = GaneshaExporter(self.server)
        target = target_of_host(self.host, self._directory)
        with NfsWorld(self._directory, {"one": target}, exporter) as world:
            # The emulator carries connections: 10.0.2.2 is this machine's loopback, and so are they there.
            world.reaches["one"] = replace(
                world.reaches["one"], server=self.host.vm.gateway, clients=("127.0.0.1",)
            )
            world.server, world.exporter = self.server, exporter
            yield Opened(world, Pool(backend_for("btrfs", self._place), world.ledger), self._owner)
        exporter.close()

    def start_server(self) -> None:
        """See that the server runs."""
        manager = ExportManager(self.server.bus)

        def answers() -> bool:
            try:
                return bool(manager.numbers())
            except ServerAway:
                return False

        self.server.ensure(answers)
        manager.close()

    def seen(self) -> Seen:
        """What is there."""
        listed = check_output(
            ["btrfs", "subvolume", "list", "-o", self._place.volumes],
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        present = str(self._directory / "state" / "present")
        mounts, directories = self.host.root(
            f"grep ' {AREA}/' /proc/mounts | cut -d ' ' -f 2; echo --; find {AREA} -mindepth 1 -xdev"
        ).split("--\n")
        return Seen(
            volumes=frozenset(re.findall(r"/volumes/(\S+)$", listed, re.MULTILINE)),
            presented=frozenset(
                Path(entry.point).name for entry in mountinfo.beneath(mountinfo.here(), present)
            )
            | frozenset(path.name for path in Path(present).glob("[!.]*")),
            exported=self._exported(),
            files=frozenset(
                path.name
                for pattern in ("exports/*", "*.going")
                for path in self.server.directory.glob(pattern)
            ),
            mounts=tuple(sorted(mounts.split())),
            directories=frozenset(directories.split()),
        )

    def expected(self, ledger: Ledger) -> Seen:
        """What there ought to be, as the ledger has it; nothing in it may be half done."""
        entries = ledger.entries()
        half = [
            f"{entry.kind} {entry.name} {entry.state}"
            for entry in entries
            if entry.state is not State.PRESENT
        ]
        assert not half, f"in the ledger: {half}"
        names = {kind: frozenset(entry.name for entry in entries if entry.kind is kind) for kind in Kind}
        assert not names[Kind.LEFT], names[Kind.LEFT]
        points = [str(entry.details["path"]) for entry in entries if entry.kind is Kind.MOUNT]
        outer = [point for point in points if not any(point.startswith(f"{other}/") for other in points)]
        return Seen(
            volumes=names[Kind.VOLUME],
            presented=names[Kind.PRESENTATION],
            exported=names[Kind.EXPORT],
            files=frozenset(f"{name}.conf" for name in names[Kind.EXPORT]),
            mounts=tuple(sorted(points)),
            directories=frozenset(_with_parents(outer)),
        )

    def at_work(self, session: int | None = None) -> list[str]:
        """Processes that still work for an engine that is gone, once those have ended that are ending.

        Args:
            session: of the engine's own processes; None looks at the host only.
        """
        until = time.monotonic() + _PATIENCE
        found = self.host.root(_AT_WORK).splitlines()
        while session is not None and time.monotonic() < until:
            ours = [path.name for path in Path("/proc").glob("[0-9]*") if _session(path) == session]
            if not ours:
                return found
            time.sleep(0.1)
        return found if session is None else [*found, f"{ours} of the engine"]

    def clear_host(self) -> None:
        """Take away whatever is below :data:`AREA`."""
        below = " ".join(AREA + depth * "/*" for depth in range(4, 0, -1))
        self.host.root(f"umount -l {below} 2>/dev/null || true; find {AREA} -mindepth 1 -xdev -delete")

    def _exported(self) -> frozenset[str]:
        """Asked of the server over a bus connection of one's own; also what no file names."""
        manager = ExportManager(self.server.bus)
        try:
            numbers = manager.numbers() - {0}  # of the root of the server's own tree
        except ServerAway:
            return frozenset()
        finally:
            manager.close()
        known = {}
        for path in self.server.exports.glob("*.conf"):
            found = re.search(r"Export_Id = (\d+);", path.read_text())
            known[int(found[1]) if found else -1] = path.stem
        return frozenset(known.get(number, f"number {number}") for number in numbers)


@contextmanager
def kill_site(host: VmHost) -> Iterator[Site]:
    """A site for the ``with`` block; whatever is left of it is taken away."""
    with ExitStack() as stack:
        directory = stack.enter_context(in_memory())
        pool = stack.enter_context(mounted("btrfs", directory / "btrfs"))
        site = Site(directory, pool, host)
        stack.callback(site.server.stop)
        with site.opened() as opened:
            opened.pool.create("data")
            for inside in ("", "data", "log"):
                (opened.pool.path("data") / inside).mkdir(exist_ok=True)
                (opened.pool.path("data") / inside / "file").write_text(f"v:{inside}")
            opened.pool.snapshot("data", "snapshot")
        yield site
        site.clear_host()
        # how commands ended whose connection was lost is kept there for an hour, for whoever asks
        host.root("rm -f /tmp/.dlpx-remote.*")
        for entry in reversed(mountinfo.beneath(mountinfo.here(), str(directory / "state"))):
            check_output(["umount", "-l", entry.point])


def _with_parents(points: list[str]) -> Iterator[str]:
    for point in points:
        path = point
        while path != AREA:
            yield path
            path = path.rpartition("/")[0]


def _session(process: Path) -> int | None:
    """Of a process that has not ended."""
    try:
        words = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] == "Z" else int(words[3])
