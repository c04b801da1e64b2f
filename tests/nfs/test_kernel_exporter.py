"""What is the kernel exporter's own: sudo instead of root, any port, exports of others, a dead server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlpx_remote.mounts.base import ExportFailed
from tests.nfs.servers import KernelServer

_ALLOWED = "/usr/sbin/exportfs, /usr/bin/install, /usr/bin/mv, /usr/bin/rm, /usr/bin/mkdir"
_PROGRAM = """
from pathlib import Path
from dlpx_remote.errors import RemoteError
from dlpx_remote.mounts.base import Export
from dlpx_remote.mounts.kernel import KernelExporter

exporter = KernelExporter(any_port=True)
try:
    exporter.add(Export("by-sudo", Path("{directory}"), ("10.0.9.1", "fd00::1")))
    print(*exporter.names(), Path("/var/lib/nfs/etab").read_text())
    exporter.remove("by-sudo")
    print("then", *exporter.names(), Path("/var/lib/nfs/etab").read_text())
except RemoteError as error:
    print(error)
"""


@pytest.fixture
def sudoers(kernel_server: KernelServer) -> Iterator[str]:
    """A file that allows the user ``engine`` what the exporter needs."""
    path = "/etc/sudoers.d/exporter"
    kernel_server.root(f"echo 'engine ALL=(root) NOPASSWD: {_ALLOWED}' > {path}; chmod 0440 {path}")
    yield path
    kernel_server.root(f"rm -f {path}")


def test_an_engine_that_is_not_root_uses_sudo_and_says_what_it_may_not(
    kernel_server: KernelServer, sudoers: str
) -> None:
    directory = kernel_server.directory("data")
    program = _PROGRAM.format(directory=directory)
    script = f"cd /run/engine; runuser -u engine -- python3 - <<'END'\n{program}END"
    shown, gone = kernel_server.root(script).split("then")
    assert shown.startswith(f"by-sudo {directory}"), shown
    assert "10.0.9.1(rw,sync" in shown
    assert "fd00::1(rw,sync" in shown
    assert "insecure" in shown
    assert str(directory) not in gone
    kernel_server.root(f"rm {sudoers}")
    refusal = kernel_server.root(script)
    assert "may not" in refusal or "password is required" in refusal
    assert f"sudoers: NOPASSWD: {_ALLOWED}" in refusal
    kernel_server.root(f"rmdir {directory}")


def test_exports_of_others_are_left_alone(kernel_server: KernelServer) -> None:
    ours, theirs = kernel_server.directory("ours"), kernel_server.directory("theirs")
    exporter = kernel_server.exporter()
    try:
        kernel_server.root(f"exportfs -o ro,no_subtree_check,fsid=77 10.0.9.9:{theirs} 10.0.9.9:{ours}")
        exporter.add(kernel_server.export(ours))
        assert exporter.names() == {"one"}
        exporter.remove("one")
        assert exporter.names() == frozenset()
        left = kernel_server.root("cut -d '(' -f 1 /var/lib/nfs/etab").splitlines()
        assert set(left) == {f"{theirs}\t10.0.9.9", f"{ours}\t10.0.9.9"}
    finally:
        kernel_server.root(f"exportfs -u 10.0.9.9:{theirs} 10.0.9.9:{ours}; rmdir {ours} {theirs}")
        exporter.close()


def test_a_server_that_is_not_running_is_said(kernel_server: KernelServer) -> None:
    directory = kernel_server.directory("data")
    exporter = kernel_server.exporter()
    exporter.add(kernel_server.export(directory))
    kernel_server.root("rpc.nfsd 0; exportfs -ua")
    try:
        assert exporter.names() == frozenset()
        assert "systemctl enable --now nfs-server" in exporter.problems()[0]
        with pytest.raises(ExportFailed, match="is not running"):
            exporter.add(kernel_server.export(directory, "two"))
        exporter.remove("two")
    finally:
        kernel_server.root("nfsd-up > /dev/null")
    assert exporter.names() == {"one"}
    kernel_server.root("exportfs -ua")
    assert "does not serve one" in exporter.problems()[0]
    exporter.remove("one")
    assert exporter.problems() == ()
    kernel_server.root(f"rmdir {directory}")
    exporter.close()
