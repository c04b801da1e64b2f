"""An NFS-Ganesha that somebody else runs, with exports of its own; the engine's come beside them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlpx_remote.demo.loopback import free_port
from dlpx_remote.engine_mounts import Nfs, NfsChoice
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.mounts.base import Export, ExportFailed
from dlpx_remote.mounts.ganesha import GaneshaExporter
from dlpx_remote.mounts.ganesha_bus import ExportManager
from dlpx_remote.store import Store

LOOPBACK = "127.0.0.1"
_PATIENCE = 60.0
_INCLUDE = '%dir "{place}/dlpx-remote.d"\n'
_CONFIGURATION = """
NFS_CORE_PARAM {{
    Protocols = 4; Bind_addr = 127.0.0.1; NFS_Port = {port};
    Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false;
}}
NFSv4 {{
    Grace_Period = 5; Only_Numeric_Owners = true; RecoveryBackend = fs; RecoveryRoot = "{place}/recovery";
}}
EXPORT {{
    Export_Id = 2; Path = "{place}/theirs"; Pseudo = "/theirs"; Protocols = 4; Transports = TCP;
    Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }}
}}
"""


class SomebodysGanesha:
    """The server, which is not the engine's.

    Args:
        place: an empty directory for its files.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port = free_port(LOOPBACK)
        self.configuration = place / "ganesha.conf"
        self.bus = f"unix:path={place / 'bus'}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("recovery", "theirs", "dlpx-remote.d"):
            (place / name).mkdir()
        (place / "theirs" / "their-file").touch()
        self.configure()

    def configure(self, text: str = _CONFIGURATION + _INCLUDE) -> None:
        """Write the configuration."""
        self.configuration.write_text(text.format(port=self.port, place=self.place))

    def start(self) -> None:
        """The bus, unless it runs, and the server; returns when it serves."""
        if "bus" not in self._processes:
            words = ["dbus-daemon", "--session", f"--address={self.bus}", "--nofork", "--nopidfile"]
            self._processes["bus"] = subprocess.Popen(words)
            wait_for((self.place / "bus").exists)
        files = {"-f": self.configuration, "-L": self.place / "log", "-p": self.place / "pid"}
        words = ["ganesha.nfsd", "-F", *(str(word) for option in files.items() for word in option)]
        self._processes["server"] = subprocess.Popen(
            words, env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.bus}
        )
        wait_for(lambda: "their-file" in self.shown("/theirs"))

    def stop(self, name: str = "server") -> None:
        """End the server, or the bus."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def shown(self, path: str) -> str:
        """What a client on loopback sees."""
        url = f"nfs://{LOOPBACK}{path}?version=4&nfsport={self.port}"
        done = subprocess.run(["nfs-ls", url], capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def choice(self) -> NfsChoice:
        """What an operator configures to have the engine use it."""
        return NfsChoice("system-ganesha", self.port, bus=self.bus, configuration=str(self.configuration))


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[SomebodysGanesha]:
    place = tmp_path / "theirs"
    place.mkdir()
    server = SomebodysGanesha(place)
    server.start()
    yield server
    server.stop()
    server.stop("bus")


@pytest.fixture
def nfs(tmp_path: Path, theirs: SomebodysGanesha) -> Iterator[Nfs]:
    """Of an engine that uses it."""
    store = Store(tmp_path / "state")
    nfs = Nfs(store)
    nfs.configure(theirs.choice())
    yield nfs
    nfs.close()
    store.close()


@pytest.fixture
def export(tmp_path: Path) -> Export:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "our-file").touch()
    return Export("v.here", tmp_path / "data", (LOOPBACK,))


def test_exports_are_added_beside_others_outlive_the_server_and_leave_others_alone(
    nfs: Nfs, theirs: SomebodysGanesha, export: Export
) -> None:
    exporter = nfs.exporter(None)
    assert exporter.kind == "system-ganesha"
    served = [exporter.add(export), exporter.add(Export("w.here", export.directory, (LOOPBACK,)))]
    assert {each.port for each in served} == {theirs.port}
    manager = ExportManager(theirs.bus)
    assert manager.numbers() == {0, 1, 2, 3}, "the number that the other export has is not taken"
    manager.close()
    theirs.stop()
    assert exporter.problems() == ("The NFS server does not answer on its message bus.",)
    theirs.start()
    for path in served[0].path, served[1].path:
        assert "our-file" in theirs.shown(path)
    assert exporter.names() == {"v.here", "w.here"}
    assert nfs.status().problems == ()
    with pytest.raises(InvalidRequest, match="exported at present"):
        nfs.configure(NfsChoice())
    with pytest.raises(InvalidRequest, match="was not started by the engine"):
        nfs.stop()
    exporter.remove("v.here")
    exporter.remove("w.here")
    assert "their-file" in theirs.shown("/theirs")
    assert list((theirs.place / "dlpx-remote.d").iterdir()) == []
    nfs.configure(NfsChoice())
    assert "their-file" in theirs.shown("/theirs"), "it is not ended when another one is chosen"


def test_a_configuration_that_would_lose_exports_is_refused(
    nfs: Nfs, theirs: SomebodysGanesha, export: Export
) -> None:
    theirs.configure(_CONFIGURATION)
    with pytest.raises(ExportFailed, match=r"does not include .*dlpx-remote\.d") as caught:
        nfs.exporter(None).add(export)
    assert f'%dir "{theirs.place}/dlpx-remote.d"' in caught.value.action
    assert "add the line %dir" in nfs.status().problems[0]
    theirs.configure((_CONFIGURATION + _INCLUDE).replace("Only_Numeric_Owners = true;", ""))
    assert "Only_Numeric_Owners = true" in nfs.status().problems[0]
    with pytest.raises(InvalidRequest, match="Bind_addr"):
        nfs.configure(NfsChoice("system-ganesha", listen=LOOPBACK))


def test_a_server_that_is_away_is_said_and_may_have_an_export_withdrawn(
    nfs: Nfs, theirs: SomebodysGanesha, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlpx_remote.mounts.ganesha_system._RESTARTING", 0.1)
    exporter = nfs.exporter(None)
    exporter.add(export)
    theirs.stop()
    with pytest.raises(ExportFailed, match="does not answer on its message bus") as caught:
        exporter.add(Export("w.here", export.directory, (LOOPBACK,)))
    assert "systemctl start nfs-ganesha" in caught.value.action
    exporter.remove("v.here")
    theirs.start()
    assert exporter.names() == frozenset()
    assert "our-file" not in theirs.shown("/dlpx/v.here")
    exporter.add(export)
    theirs.stop("bus")
    assert isinstance(exporter, GaneshaExporter)
    with pytest.raises(ExportFailed, match="may still serve"):
        exporter.remove("v.here")
