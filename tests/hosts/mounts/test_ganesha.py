"""Exports of a real NFS-Ganesha, looked at with a client that needs no kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.demo.loopback import free_port
from dlpx_remote.mounts.base import Export, ExportFailed
from dlpx_remote.mounts.ganesha import GaneshaExporter
from dlpx_remote.mounts.ganesha_bus import ExportManager, ServerAway
from dlpx_remote.mounts.ganesha_server import GaneshaServer

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GaneshaServer]:
    port = free_port(LOOPBACK)
    server = GaneshaServer(tmp_path_factory.mktemp("ganesha") / "nfs", address=LOOPBACK, port=port)
    yield server
    server.stop()
    assert server.process() is None
    assert server.process("dbus-daemon") is None


@pytest.fixture
def exporter(server: GaneshaServer) -> Iterator[GaneshaExporter]:
    exporter = GaneshaExporter(server)
    yield exporter
    for path in server.exports.glob("*.conf"):
        exporter.remove(path.stem)
    exporter.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("hello")
    return tmp_path / "data"


def ask(server: GaneshaServer, name: str, command: str = "nfs-ls", path: str = "", uid: int = 1000) -> str:
    """What a client on loopback gets to see, or what it is refused with."""
    url = f"nfs://{LOOPBACK}/dlpx/{name}{path}?version=4&nfsport={server.port}&uid={uid}&gid={uid}"
    done = subprocess.run([command, url], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def wait_for(holds: object) -> None:
    assert callable(holds)
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_is_added_is_served_until_it_is_removed(
    exporter: GaneshaExporter, server: GaneshaServer, data: Path
) -> None:
    export = Export("v.here", data, (LOOPBACK,))
    served = exporter.add(export)
    assert (served.file_system, served.path, served.port) == ("nfs", "/dlpx/v.here", server.port)
    assert "file" in ask(server, "v.here")
    assert ask(server, "v.here", "nfs-cat", "/file") == "hello"
    assert exporter.add(export) == served
    assert exporter.names() == {"v.here"}
    assert exporter.problems() == ()
    exporter.remove("v.here")
    exporter.remove("v.here")
    assert exporter.names() == frozenset()
    assert "NOENT" in ask(server, "v.here")


def test_nobody_else_is_served(exporter: GaneshaExporter, server: GaneshaServer, data: Path) -> None:
    exporter.add(Export("v", data, ("192.0.2.7", "198.51.100.0/24")))
    assert "file" not in ask(server, "v")
    exporter.add(Export("v", data, ("192.0.2.7", LOOPBACK)))
    assert "file" in ask(server, "v"), "another list of clients takes the place of the first"
    with pytest.raises(ExportFailed, match="Nobody is named"):
        exporter.add(Export("v", data, ()))


def test_root_is_nobody_unless_it_is_to_be_root(
    exporter: GaneshaExporter, server: GaneshaServer, data: Path
) -> None:
    (data / "file").chmod(0o600)
    exporter.add(Export("v", data, (LOOPBACK,)))
    assert "hello" not in ask(server, "v", "nfs-cat", "/file", uid=0)
    exporter.add(Export("v", data, (LOOPBACK,), root_squash=False))
    wait_for(lambda: ask(server, "v", "nfs-cat", "/file", uid=0) == "hello")


def test_read_only_is_read_only(exporter: GaneshaExporter, server: GaneshaServer, data: Path) -> None:
    data.chmod(0o777)
    url = f"nfs://{LOOPBACK}/dlpx/v/new?version=4&nfsport={server.port}"
    exporter.add(Export("v", data, (LOOPBACK,), read_only=True))
    subprocess.run(["nfs-cp", "/etc/hostname", url], capture_output=True, timeout=30, check=False)
    assert not (data / "new").exists()
    exporter.add(Export("v", data, (LOOPBACK,)))
    subprocess.run(["nfs-cp", "/etc/hostname", url], capture_output=True, timeout=30, check=True)
    assert (data / "new").exists()


def test_another_process_sees_and_takes_away_the_same(
    exporter: GaneshaExporter, server: GaneshaServer, data: Path
) -> None:
    exporter.add(Export("v", data, (LOOPBACK,)))
    other = GaneshaExporter(server)
    assert other.names() == {"v"}
    other.remove("v")
    other.close()
    assert exporter.names() == frozenset()


def test_a_killed_server_comes_back_with_the_same_exports(
    exporter: GaneshaExporter, server: GaneshaServer, data: Path
) -> None:
    exporter.add(Export("v", data, (LOOPBACK,)))
    before = (server.exports / "v.conf").read_text()
    for name in ("ganesha.nfsd", "dbus-daemon"):
        process = server.process(name)
        assert process is not None
        os.kill(process, signal.SIGKILL)
        wait_for(lambda process=process, name=name: server.process(name) not in (None, process))
        wait_for(lambda: exporter.names() == {"v"})
        assert "file" in ask(server, "v")
    assert (server.exports / "v.conf").read_text() == before, "hosts keep their file handles"


def test_what_a_silent_server_was_not_told_to_give_up_is_told_again(
    exporter: GaneshaExporter, server: GaneshaServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter.add(Export("v", data, (LOOPBACK,)))
    process = server.process()
    assert process is not None
    # as if what it is told were lost
    monkeypatch.setattr(ExportManager, "remove", lambda *_: (_ for _ in ()).throw(ServerAway("silent")))
    with pytest.raises(ExportFailed, match="may still serve v") as caught:
        exporter.remove("v")
    assert f"End its process {process}" in caught.value.action
    assert not list(server.exports.iterdir()), "it would not come back with the server"
    monkeypatch.undo()
    assert "file" in ask(server, "v"), "it is served still"
    GaneshaExporter(server).remove("v")
    assert "NOENT" in ask(server, "v")
    assert not list(server.directory.glob("*.going"))
    exporter.add(Export("v", data, (LOOPBACK,)))
    assert "file" in ask(server, "v")


def test_without_a_supervisor_the_next_call_brings_it_back(
    exporter: GaneshaExporter, server: GaneshaServer, data: Path
) -> None:
    exporter.add(Export("v", data, (LOOPBACK,)))
    found = subprocess.run(
        ["pgrep", "-f", f"dlpx-remote-nfs {server.directory} "], capture_output=True, check=True
    )
    for process in [*map(int, found.stdout.split()), server.process()]:
        assert process is not None
        with contextlib.suppress(ProcessLookupError):  # the supervisor's own children come and go
            os.kill(process, signal.SIGKILL)
    wait_for(lambda: server.process() is None)
    assert exporter.problems() == (
        "The NFS server does not answer on its message bus; the next mount starts it.",
    )
    exporter.add(Export("w", data, (LOOPBACK,)))
    assert exporter.names() == {"v", "w"}


def test_what_cannot_be_served_is_told_and_leaves_nothing(
    exporter: GaneshaExporter, server: GaneshaServer, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailed, match="is not there"):
        exporter.add(Export("v", tmp_path / "none", (LOOPBACK,)))
    odd = tmp_path / 'a"b'
    odd.mkdir()
    with pytest.raises(ExportFailed, match="cannot say quotes"):
        exporter.add(Export("v", odd, (LOOPBACK,)))
    blank = tmp_path / "with space é"
    blank.mkdir()
    exporter.add(Export("w", blank, (LOOPBACK,)))
    assert exporter.names() == {"w"}


def test_a_server_that_cannot_start_says_why(
    server: GaneshaServer, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlpx_remote.mounts.ganesha_server._STARTING", 3.0)
    exporter = GaneshaExporter(server)
    exporter.add(Export("v", data, (LOOPBACK,)))
    second = GaneshaServer(tmp_path / "second", address=LOOPBACK, port=server.port)
    try:
        with pytest.raises(ExportFailed, match="The NFS server does not start"):
            GaneshaExporter(second).add(Export("v", data, (LOOPBACK,)))
        assert list(second.exports.glob("*.conf")) == []
    finally:
        second.stop()
        exporter.remove("v")


def test_a_machine_without_the_server_is_told_what_to_install(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlpx_remote.mounts.ganesha_server.found", lambda program: None)
    exporter = GaneshaExporter(GaneshaServer(tmp_path / "nfs"))
    with pytest.raises(ExportFailed, match="cannot be started") as caught:
        exporter.add(Export("v", data, (LOOPBACK,)))
    assert "Install nfs-ganesha" in caught.value.action
    assert "Install nfs-ganesha" in exporter.problems()[0]
    assert exporter.names() == frozenset()


def test_the_owners_of_another_mount_are_served_from_btrfs_subvolumes_only(
    exporter: GaneshaExporter, data: Path
) -> None:
    assert not exporter.maps_owners(data)
