"""Fixtures of the tests on virtual machines, which have a kernel with an NFS client and server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from containers.nfs_vm.vm import private_network
from dlpx_remote.mounts.base import Owner
from tests.nfs.mounts_world import NfsWorld, mounting_by_sudo, nfs_world
from tests.nfs.servers import EXPORTER_PORT, GaneshaServerHere, KernelServer
from tests.nfs.vm_host import VmHost, vm_host


class _Machines:
    """The machines of a session: started when first asked for, ended together."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._ends = private_network()
        for end in self._ends:
            stack.enter_context(end.socket)
        self.started: dict[VmHost, frozenset[str]] = {}

    def first(self, count: int) -> list[VmHost]:
        """The same machines every time."""
        while len(self.started) < count:
            directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dlpx-vm-"))
            end = self._ends[len(self.started)]
            host = self._stack.enter_context(vm_host(Path(directory), forward=(EXPORTER_PORT,), network=end))
            self.started[host] = host.contents()
        return list(self.started)[:count]

    def take_as_it_is(self, host: VmHost) -> None:
        """From now on it is no fault of a test that the machine is as it is at present."""
        self.started[host] = host.contents()


@pytest.fixture(scope="session")
def _machines() -> Iterator[_Machines]:
    with ExitStack() as stack:
        yield _Machines(stack)


@pytest.fixture(scope="session")
def nfs_vm(_machines: _Machines) -> VmHost:
    """A virtual machine shared by the whole session. Leave it as it was."""
    return _machines.first(1)[0]


@pytest.fixture(scope="session")
def two_nfs_vms(_machines: _Machines) -> tuple[VmHost, VmHost]:
    """Two machines shared by the whole session, the first being ``nfs_vm``. Leave them as they were.

    They reach each other as 10.0.9.1 and 10.0.9.2.
    """
    one, other = _machines.first(2)
    return one, other


@pytest.fixture(scope="session")
def kernel_server(_machines: _Machines, two_nfs_vms: tuple[VmHost, VmHost]) -> KernelServer:
    """The kernel's NFS server in the second machine; the first one mounts."""
    server = KernelServer(*two_nfs_vms)
    server.start()
    _machines.take_as_it_is(two_nfs_vms[1])
    return server


@pytest.fixture(scope="session")
def ganesha_server(nfs_vm: VmHost) -> Iterator[GaneshaServerHere]:
    """NFS-Ganesha on this machine; ``nfs_vm`` mounts."""
    with tempfile.TemporaryDirectory(prefix="dlpx-ganesha-") as directory:
        server = GaneshaServerHere(nfs_vm, Path(directory))
        yield server
        server.stop()


@pytest.fixture(scope="module")
def world(nfs_vm: VmHost, _machines: _Machines) -> Iterator[NfsWorld]:
    """One machine; its user may run the documented commands by sudo, and mount below ``/srv/at``."""
    with mounting_by_sudo(nfs_vm, "/srv/at"), nfs_world([nfs_vm]) as world:
        _machines.take_as_it_is(nfs_vm)
        yield world


@pytest.fixture
def detached(world: NfsWorld, nfs_vm: VmHost) -> Iterator[None]:
    """What a failed test leaves mounted does not fail the next ones."""
    yield
    world.mounts.detach("v", force=True)
    world.disconnect()
    nfs_vm.root("rm -f /tmp/written /tmp/said")


@pytest.fixture
def engine_user(nfs_vm: VmHost) -> Owner:
    """The user ``engine`` of the machine."""
    uid, gid = nfs_vm.root("id -u engine; id -g engine").split()
    return Owner(int(uid), int(gid))


@pytest.fixture(autouse=True, scope="module")
def nothing_left_behind(_machines: _Machines) -> Iterator[None]:
    """After the tests of a module: no new mount, process or file on a machine.

    To look after each test would take a fifth of what all of them take.
    """
    yield
    extra = {host.port: host.left_behind(before) for host, before in _machines.started.items()}
    if any(extra.values()):
        for host in _machines.started:
            _machines.take_as_it_is(host)  # one culprit fails one module
    assert not any(extra.values()), f"left behind on the machines (by port): {extra}"
