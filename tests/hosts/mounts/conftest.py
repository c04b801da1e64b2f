"""A host in a container of its own mount namespace, whose user may do by sudo what mounting needs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.mounts.host import HostMounts
from dlpx_remote.transports.ssh import SshConnection, connect
from tests.hosts.ssh_host import SshHost, ssh_host
from tests.hosts.transports.test_files import target_of_host

RULE = (
    "engine ALL=(root) NOPASSWD: /usr/bin/mount -o *, /usr/bin/mount -t nfs -o *, /usr/bin/umount -c -i *, "
    "/usr/bin/mkdir -- *, /usr/bin/rmdir -- *"
)


@pytest.fixture(scope="package")
def mounting_host(ssh_image: str) -> Iterator[SshHost]:
    """Root in it may mount; the user ``engine`` may run just the documented commands by sudo."""
    with (
        tempfile.TemporaryDirectory(prefix="dlpx-host-") as directory,
        ssh_host(ssh_image, Path(directory), mounts=True) as host,
    ):
        host.root(f"echo '{RULE}' >/etc/sudoers.d/engine; visudo -c -q")
        host.root("mkdir /area && mount -t tmpfs area /area")
        yield host


@pytest.fixture(scope="package")
def host_connection(mounting_host: SshHost) -> Iterator[SshConnection]:
    """Of the user ``engine``."""
    with (
        tempfile.TemporaryDirectory(prefix="dlpx-known-") as directory,
        connect(target_of_host(mounting_host, Path(directory))) as connection,
    ):
        yield connection


@pytest.fixture
def mounts(host_connection: SshConnection) -> HostMounts:
    """Mounts of the host, through ``engine``."""
    return HostMounts(host_connection)
