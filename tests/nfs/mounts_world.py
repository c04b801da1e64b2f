"""The mounts of an engine over virtual machines: a Btrfs pool, a real NFS server, real clients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from dlpx_remote.demo.loopback import free_port
from dlpx_remote.mounts.base import Placement
from dlpx_remote.mounts.ganesha import GaneshaExporter
from dlpx_remote.mounts.ganesha_server import GaneshaServer
from tests.hosts.mounts.world import World
from tests.hosts.transports.test_files import target_of_host
from tests.nfs.vm_host import VmHost
from tests.storage.file_systems import in_memory, mounted, run

_PAGE = Path(__file__).parents[2] / "docs" / "mounts.md"
RULE = _PAGE.read_text(encoding="utf-8").partition("```sudoers\n")[2].partition("\n```")[0]
"""What the page asks a host's administrator to allow, in sudoers."""


@contextmanager
def mounting_by_sudo(host: VmHost, area: str) -> Iterator[None]:
    """The user ``engine`` may do just what is documented, and there is a directory to mount in."""
    before = host.root("cat /etc/sudoers.d/engine")
    host.root(f"echo '{RULE}' >/etc/sudoers.d/engine; visudo -c -q; mkdir {area}")
    yield
    host.root(f"echo '{before.strip()}' >/etc/sudoers.d/engine; rmdir {area}")


class NfsWorld(World):
    """See :class:`World`; its volumes are Btrfs subvolumes, its NFS server is Ganesha."""

    server: GaneshaServer
    exporter: GaneshaExporter

    def volume(self, name: str) -> Path:
        """An empty subvolume, known to the ledger."""
        if not (self.pool / name).exists():
            run("btrfs", "-q", "subvolume", "create", str(self.pool / name))
        return super().volume(name)


@contextmanager
def nfs_world(hosts: Sequence[VmHost], pool_kind: str = "btrfs") -> Iterator[NfsWorld]:
    """Environments ``one``, ``two`` … for the hosts, for the ``with`` block.

    Args:
        hosts: running machines.
        pool_kind: of the pool's file system, see :func:`tests.storage.file_systems.mounted`.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(in_memory())
        pool = stack.enter_context(mounted(pool_kind, directory / "btrfs"))
        server = GaneshaServer(directory / "nfs", address="127.0.0.1", port=free_port("127.0.0.1"))
        stack.callback(server.stop)
        exporter = GaneshaExporter(server)
        stack.callback(exporter.close)
        targets = {
            name: target_of_host(host, directory) for name, host in zip(("one", "two"), hosts, strict=False)
        }
        world = stack.enter_context(NfsWorld(directory, targets, exporter))
        world.pool = pool
        for name in targets:
            # The emulator carries connections: 10.0.2.2 is this machine's loopback, and so are they there.
            world.reaches[name] = replace(world.reaches[name], server="10.0.2.2", clients=("127.0.0.1",))
        world.server, world.exporter = server, exporter
        yield world
        for name in world.presentations.names():
            world.mounts.detach(name, force=True)


def as_engine(host: VmHost, script: str) -> str:
    """What the user gets who owns the data there."""
    return host.root(f"runuser -u engine -- bash -c '{script}' 2>&1 || true")


def on(environment: str, path: str, shared: str | None = None) -> Placement:
    """A placement through the user ``engine``."""
    return Placement(environment, "engine", path, shared)
