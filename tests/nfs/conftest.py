"""Fixtures of the tests on virtual machines, which have a kernel with an NFS client and server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from containers.nfs_vm.vm import private_network
from tests.nfs.vm_host import VmHost, vm_host

NFS_PORT = 2049


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
            host = self._stack.enter_context(vm_host(Path(directory), forward=(NFS_PORT,), network=end))
            self.started[host] = host.contents()
        return list(self.started)[:count]


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


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no new mount, process or file on a machine that it used."""
    yield
    if not {"nfs_vm", "two_nfs_vms"}.intersection(request.fixturenames):
        return
    machines: _Machines = request.getfixturevalue("_machines")
    extra = {host.port: host.left_behind(before) for host, before in machines.started.items()}
    if any(extra.values()):
        for host in machines.started:
            machines.started[host] = host.contents()  # one culprit fails one test
    assert not any(extra.values()), f"left behind on the machines (by port): {extra}"
