"""The virtual test host of ``containers/nfs-vm``, with a way in for each of its users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from containers.nfs_vm.vm import NetworkEnd, NfsVm
from tests.hosts.ssh_host import LoginHost, WaysIn


@dataclass(frozen=True, eq=False, kw_only=True)
class VmHost(LoginHost):
    """A running virtual machine.

    Attributes:
        vm: the machine, to be rebooted and cut off.
    """

    vm: NfsVm

    def root(self, script: str) -> str:
        """See :meth:`LoginHost.root`; it works without a network."""
        return self.vm.root(script)

    @property
    def listing(self) -> str:
        """What a container's contents are, and what is mounted."""
        return super().listing + "sed 's/ [^ ]* [^ ]* [^ ]*$//; s/^/mount /' /proc/mounts"


@contextmanager
def vm_host(
    directory: Path, *, forward: tuple[int, ...] = (), network: NetworkEnd | None = None
) -> Iterator[VmHost]:
    """A host for the ``with`` block.

    Args:
        directory: empty; key and password files go there.
        forward: see :class:`NfsVm`.
        network: see :class:`NfsVm`.
    """
    with NfsVm(forward=forward, network=network) as vm:
        ways_in = WaysIn.make(directory)
        vm.admit(ways_in.passwords, ways_in.keys)
        yield VmHost(**ways_in.of_host(vm.host_key()), address=vm.address, port=vm.ssh_port, vm=vm)
