"""Processes of servers whose engine is gone: real ones, found and ended; those of others are left alone."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlpx_remote.cli import main
from dlpx_remote.demo.loopback import free_port
from dlpx_remote.mounts.base import Export
from dlpx_remote.mounts.ganesha import GaneshaExporter
from dlpx_remote.mounts.ganesha_server import RUNTIME, GaneshaServer
from dlpx_remote.mounts.leftovers import Leftover, leftovers
from tests.hosts.mounts.test_ganesha import LOOPBACK, wait_for

Start = Callable[[str], GaneshaServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the server of a state by its name, with an export; ends what is left."""
    (tmp_path / "data").mkdir()
    started = []

    def starting(name: str) -> GaneshaServer:
        server = GaneshaServer(tmp_path / name / "nfs", address=LOOPBACK, port=free_port(LOOPBACK))
        started.append(server)
        exporter = GaneshaExporter(server)
        exporter.add(Export("v.here", tmp_path / "data", (LOOPBACK,)))
        exporter.close()
        return server

    yield starting
    for server in started:
        server.directory.mkdir(parents=True, exist_ok=True)
        server.stop()


def of(server: GaneshaServer, *, seen_by: GaneshaServer, exported: bool = True) -> list[Leftover]:
    """Other runs on this machine may leave something too."""
    return [one for one in leftovers(seen_by, exported=exported) if one.directory == server.directory]


def test_what_outlives_its_state_is_planned_and_ended_and_others_go_on(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, gone = start("other"), start("gone")
    assert of(gone, seen_by=other) == of(other, seen_by=other) == []
    processes = {name: gone.process(name) for name in ("ganesha.nfsd", "dbus-daemon")}
    runtime = RUNTIME / gone.bus.rpartition("/")[0].rpartition("/")[2]
    assert runtime.is_dir()
    shutil.rmtree(tmp_path / "gone")

    found = of(gone, seen_by=other)
    assert [one.program for one in found] == ["supervisor", "ganesha.nfsd", "dbus-daemon"]
    assert {one.program: one.process for one in found[1:]} == processes
    doctor = ["--state", str(tmp_path / "state"), "doctor"]
    assert main(doctor) == 1
    said = capsys.readouterr().out
    for one in found:
        words = (
            f"end the process {one.process} ({one.program}): its engine's directory {gone.directory} is gone"
        )
        assert words in said
    assert of(gone, seen_by=other) == found, "it was shown only"
    assert main([*doctor, "--repair", "--yes"]) == 0
    assert of(gone, seen_by=other) == []
    for one in found:
        stat = Path(f"/proc/{one.process}/stat")
        assert not stat.exists() or " Z " in stat.read_text(), "nobody may be there who collects it"
    assert not runtime.exists()
    assert other.supervised()
    assert other.process() is not None


def test_an_own_server_that_nobody_looks_after_is_left_over_only_while_nothing_is_exported(
    start: Start,
) -> None:
    own = start("own")
    assert of(own, seen_by=own, exported=False) == [], "it is looked after"
    lock = (own.directory / "supervisor.lock").stat()
    (supervisor,) = {
        int(file.parent.parent.name)
        for file in Path("/proc").glob("[0-9]*/fd/9")
        if file.exists() and (file.stat().st_dev, file.stat().st_ino) == (lock.st_dev, lock.st_ino)
        if b"dlpx-remote-nfs" in (file.parent.parent / "cmdline").read_bytes()
    }
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not own.supervised())
    assert of(own, seen_by=own, exported=True) == [], "the next export adopts it"
    assert [one.program for one in of(own, seen_by=own, exported=False)] == ["ganesha.nfsd", "dbus-daemon"]
