"""What a host gets of the kernel's NFS server through the engine: NFS 3 as a fall-back, lists, attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dlpx_remote.mounts.host import HostMounts
from dlpx_remote.mounts.records import source_of
from dlpx_remote.mounts.source import NFS_OPTIONS, Source
from dlpx_remote.transports.privilege import Privilege
from dlpx_remote.transports.ssh import connect
from tests.hosts.transports.test_files import target_of_host
from tests.nfs.servers import KernelServer
from tests.nfs.vm_host import VmHost

AT = "/srv/kernel"
_LOCK = 'import fcntl; fcntl.lockf(open("file", "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)'


@pytest.fixture
def mounts(nfs_vm: VmHost, tmp_path: Path) -> Iterator[HostMounts]:
    """Of the first machine, through its user ``engine``."""
    with connect(target_of_host(nfs_vm, tmp_path)) as connection:
        yield HostMounts(connection, Privilege())


@pytest.fixture
def served(kernel_server: KernelServer) -> Iterator[Source]:
    """A directory of the user ``engine`` with one file, as the exporter says that it is to be mounted."""
    directory = kernel_server.directory("data")
    kernel_server.root(
        f"cd {directory}; echo kept >file; chown 1000:1000 file; "
        "setfattr -n user.note -v kept file; setfacl -m u:4242:r file"
    )
    exporter = kernel_server.exporter()
    served = exporter.add(kernel_server.export(directory))
    yield source_of(served, f"{kernel_server.address}:{served.path}", NFS_OPTIONS)
    exporter.remove("one")
    exporter.close()
    kernel_server.root(f"rm -r {directory}")


@pytest.fixture
def only_3(kernel_server: KernelServer) -> Iterator[None]:
    """The server serves NFS 3, and nothing newer."""
    kernel_server.root("rpc.nfsd 0; rpc.nfsd --no-nfs-version 4 4")
    yield
    # the server waits for rpc.statd when it ends
    kernel_server.root("rpc.nfsd 0; pkill rpc.statd || true; nfsd-up >/dev/null")
    kernel_server.root("grep -q '+4.1' /proc/fs/nfsd/versions")


@pytest.fixture
def no_statd(nfs_vm: VmHost) -> Iterator[None]:
    """The host has no rpc.statd, without which NFS 3 has no locks."""
    nfs_vm.root("mv /usr/sbin/start-statd /usr/sbin/no-statd; pkill rpc.statd || true")
    yield
    nfs_vm.root("mv /usr/sbin/no-statd /usr/sbin/start-statd")


def as_user(host: VmHost, script: str) -> str:
    """What the owner of the files gets."""
    return host.root(f"runuser -u engine -- bash -c 'cd {AT}; {script}' 2>&1 || true")


@pytest.mark.usefixtures("only_3", "no_statd")
def test_a_host_falls_back_to_version_3_and_it_is_said(
    served: Source, mounts: HostMounts, nfs_vm: VmHost, kernel_server: KernelServer
) -> None:
    assert served.version == "3", "the exporter has asked the server"
    here = f"engine@{nfs_vm.address}:{nfs_vm.port}"
    asked = {
        "3": f"The NFS server at {served.server} serves no NFS 4.1; version 3 is used.",
        "4.1": f"{here} and {served.server} do not agree on NFS 4.1; version 3 is used.",
    }
    for version, remark in asked.items():
        source = replace(served, version=version)
        mounted = mounts.mount(AT, source)
        assert mounted.version == "3"
        assert mounted.remarks == (
            remark,
            f"rpc.statd does not run on {here}: locks on files hold among its own processes only (nolock).",
        )
        assert as_user(nfs_vm, f"cat file; echo {version} >>file; flock file echo locked") == "kept\nlocked\n"
        again = mounts.mount(AT, source)
        assert (again.version, again.made) == ("3", ())
        assert mounts.unmount(AT, source, mounted.made) == ()
        nfs_vm.root(f"! [ -e {AT} ]")
        stored = kernel_server.place / "data" / "file"
        assert kernel_server.root(f"cat {stored}; echo kept >{stored}") == f"kept\n{version}\n"


@pytest.mark.usefixtures("only_3")
def test_version_3_has_locks_where_both_sides_run_statd_and_shows_access_control_lists(
    served: Source, mounts: HostMounts, nfs_vm: VmHost, kernel_server: KernelServer
) -> None:
    exporter = kernel_server.exporter()
    (problem,) = exporter.problems()
    assert "rpc.statd does not run: a program on a host that locks a file waits for ever" in problem
    kernel_server.root("rpc.statd")
    assert exporter.problems() == ()
    exporter.close()
    mounted = mounts.mount(AT, served)
    try:
        assert (mounted.version, len(mounted.remarks)) == ("3", 1)
        assert "nolock" not in mounted.options
        assert "user:4242:r--" in as_user(nfs_vm, "getfacl -n file 2>&1")
        assert as_user(nfs_vm, "setfacl -m u:4243:rw file; getfacl -n file | grep 4243") == "user:4243:rw-\n"
        nfs_vm.root(f"cd {AT}; runuser -u engine -- flock file sleep 60 </dev/null >/dev/null 2>&1 &")
        kernel_server.root("until grep -q POSIX /proc/locks; do sleep 0.1; done")
        locking = f"cd {kernel_server.place}/data; python3 -c '{_LOCK}' 2>&1 || true"
        assert "Resource temporarily unavailable" in kernel_server.root(locking)
        nfs_vm.root("pkill -u engine sleep")
        kernel_server.root("until ! grep -q POSIX /proc/locks; do sleep 0.1; done")
        assert kernel_server.root(locking) == ""
    finally:
        nfs_vm.root("pkill -u engine sleep || true")
        mounts.unmount(AT, served, mounted.made)
        nfs_vm.root("pkill rpc.statd || true")


def test_the_hosts_user_sees_extended_attributes_and_lists_with_version_4_2(
    served: Source, mounts: HostMounts, nfs_vm: VmHost, kernel_server: KernelServer
) -> None:
    source = replace(served, version="4.2")
    mounted = mounts.mount(AT, source)
    try:
        assert (mounted.version, mounted.remarks) == ("4.2", ())
        assert as_user(nfs_vm, "getfattr --only-values -n user.note file") == "kept"
        lists = as_user(nfs_vm, "getfattr --only-values -n system.nfs4_acl file | tr -dc [:print:]")
        assert "4242" in lists, lists
        assert as_user(nfs_vm, "setfattr -n user.note -v changed file; mv file moved") == ""
        stored = kernel_server.root(f"cd {kernel_server.place}/data; getfacl -n moved; getfattr -d moved")
        assert 'user.note="changed"' in stored
        assert "user:4242:r--" in stored
    finally:
        mounts.unmount(AT, source, mounted.made)
