"""The contract of exporters, kept by every NFS server: see :class:`dlpx_remote.mounts.base.Exporter`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containers.nfs_vm.vm import VmScriptFailed
from dlpx_remote.mounts.base import Export, Exporter, ExportFailed
from tests.nfs.servers import NfsServer


@pytest.fixture(params=["kernel", "ganesha"])
def server(request: pytest.FixtureRequest) -> Iterator[NfsServer]:
    """Every server, with nothing served before and after."""
    server: NfsServer = request.getfixturevalue(f"{request.param}_server")
    yield server
    exporter = server.exporter()
    for name in exporter.names():
        exporter.remove(name)
    assert exporter.names() == frozenset()
    exporter.close()
    server.root(f"rm -r {server.place}/* 2> /dev/null || true")


@pytest.fixture
def exporter(server: NfsServer) -> Iterator[Exporter]:
    exporter = server.exporter()
    yield exporter
    exporter.close()


def test_what_is_added_is_read_and_written_by_the_host(server: NfsServer, exporter: Exporter) -> None:
    directory = server.directory("data")
    server.root(f"echo from the engine > {directory}/engine")
    served = exporter.add(server.export(directory))
    assert (served.file_system, served.version) == ("nfs", "4.1")
    assert exporter.names() == {"one"}
    assert exporter.problems() == ()
    with server.mounted(served):
        assert server.client.root("cat /mnt/data/engine") == "from the engine\n"
        server.client.root("echo from the host > /mnt/data/host; sync")
    assert server.root(f"cat {directory}/host") == "from the host\n"


def test_root_is_nobody_where_that_is_asked_and_a_second_call_changes_it(
    server: NfsServer, exporter: Exporter
) -> None:
    directory = server.directory("data")
    server.root(f"echo secret > {directory}/owned; chmod 0600 {directory}/owned")
    with server.mounted(exporter.add(server.export(directory))):
        assert server.client.root("cat /mnt/data/owned 2>&1 || true").endswith("Permission denied\n")
        server.client.root("touch /mnt/data/new")
        assert server.client.root("stat -c %u /mnt/data/new") == "65534\n"
    with server.mounted(exporter.add(server.export(directory, root_squash=False))):
        assert server.client.root("cat /mnt/data/owned") == "secret\n"


def test_only_to_be_read_where_that_is_asked(server: NfsServer, exporter: Exporter) -> None:
    directory = server.directory("data")
    with server.mounted(exporter.add(server.export(directory, read_only=True))):
        said = server.client.root("touch /mnt/data/new 2>&1 || true")
    assert said.endswith("Read-only file system\n")


def test_no_other_host_is_served(server: NfsServer, exporter: Exporter) -> None:
    served = exporter.add(server.export(server.directory("data"), clients=(server.other_address,)))
    with pytest.raises(VmScriptFailed):
        server.mount(served)
    server.unmount()
    with server.mounted(exporter.add(server.export(server.place / "data"))):
        pass


def test_several_hosts_and_networks_are_served(server: NfsServer, exporter: Exporter) -> None:
    network = server.client_address.rpartition(".")[0] + ".0/24"
    served = exporter.add(server.export(server.directory("data"), clients=("192.0.2.1", network)))
    with server.mounted(served):
        server.client.root("touch /mnt/data/new")


def test_what_is_removed_is_served_no_longer(server: NfsServer, exporter: Exporter) -> None:
    served = exporter.add(server.export(server.directory("data")))
    kept = exporter.add(server.export(server.directory("kept"), "two"))
    exporter.remove("one")
    exporter.remove("one")
    assert exporter.names() == {"two"}
    with pytest.raises(VmScriptFailed):
        server.mount(served)
    server.unmount()
    with server.mounted(kept):
        pass


def test_a_presented_directory_can_be_unmounted_once_it_is_removed(
    server: NfsServer, exporter: Exporter
) -> None:
    directory = server.directory("presented")
    server.root(f"mount -t tmpfs -o mode=0777 presented {directory}")
    try:
        with server.mounted(exporter.add(server.export(directory))):
            server.client.root("echo 1 > /mnt/data/file; cat /mnt/data/file")
        exporter.remove("one")
    finally:
        server.root(f"umount {directory}")


def test_a_directory_that_is_gone_can_be_removed(server: NfsServer, exporter: Exporter) -> None:
    directory = server.directory("data")
    exporter.add(server.export(directory))
    server.root(f"rmdir {directory}")
    exporter.remove("one")
    assert exporter.names() == frozenset()


def test_what_cannot_be_served_is_refused(server: NfsServer, exporter: Exporter) -> None:
    with pytest.raises(ExportFailed, match="nowhere"):
        exporter.add(server.export(Path("/nowhere")))
    with pytest.raises(ExportFailed, match="Nobody is named"):
        exporter.add(server.export(server.directory("data"), clients=()))
    assert exporter.names() == frozenset()


@pytest.mark.parametrize("name", ["with space, ünï 数, q'uo, #(rw)* %", 'quo"te', "back\\040slash"])
def test_a_directory_may_be_called_anything_or_is_refused(
    server: NfsServer, exporter: Exporter, name: str
) -> None:
    directory = server.directory(name)
    server.root(f"echo content > {shlex.quote(str(directory))}/file")
    if set(name) & server.cannot_write:
        with pytest.raises(ExportFailed, match="Rename the directory"):
            exporter.add(server.export(directory))
        assert exporter.names() == frozenset()
        return
    served = exporter.add(server.export(directory))
    assert exporter.names() == {"one"}
    with server.mounted(served):
        assert server.client.root("cat /mnt/data/file") == "content\n"


def test_directories_within_each_other_are_told_apart(server: NfsServer, exporter: Exporter) -> None:
    outer, inner = server.directory("outer"), server.directory("outer/inner")
    server.root(f"touch {outer}/of-outer {inner}/of-inner")
    both = {
        "/mnt/data": exporter.add(server.export(outer, "outer")),
        "/mnt/inner": exporter.add(server.export(inner, "inner")),
    }
    with server.mounted(both["/mnt/data"]), server.mounted(both["/mnt/inner"], "/mnt/inner"):
        assert server.client.root("ls /mnt/data /mnt/inner") == (
            "/mnt/data:\ninner\nof-outer\n\n/mnt/inner:\nof-inner\n"
        )
    exporter.remove("outer")
    with server.mounted(both["/mnt/inner"]):
        assert server.client.root("ls /mnt/data") == "of-inner\n"


def test_an_engine_that_starts_again_knows_what_it_serves(server: NfsServer, exporter: Exporter) -> None:
    exporter.add(server.export(server.directory("data")))
    exporter.close()
    another = server.exporter()
    assert another.names() == {"one"}
    another.remove("one")
    assert another.names() == frozenset()
    another.close()


def test_many_at_once(server: NfsServer, exporter: Exporter) -> None:
    exports = [server.export(server.directory(f"d{number}"), f"n{number}") for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        served = list(threads.map(lambda export: _with_an_engine_of_its_own(server, export), exports))
    assert exporter.names() == {export.name for export in exports}
    assert len(set(served)) == 8


def _with_an_engine_of_its_own(server: NfsServer, export: Export) -> str:
    exporter = server.exporter()
    try:
        return exporter.add(export).path
    finally:
        exporter.close()


def test_a_server_that_was_killed_serves_again_what_is_on_disk(server: NfsServer, exporter: Exporter) -> None:
    directory = server.directory("data")
    with server.mounted(exporter.add(server.export(directory))):
        server.client.root("exec 3> /mnt/data/open; echo before >&3; sync /mnt/data/open")
        server.restart()
        server.client.root("echo after >> /mnt/data/open; sync /mnt/data/open")
    assert server.root(f"cat {directory}/open") == "before\nafter\n"
    assert exporter.names() == {"one"}
