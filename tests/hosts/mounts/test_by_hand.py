"""Mounting by hand with an engine and its command line; the host is this machine, the pool is of copies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlpx_remote.cli import main
from dlpx_remote.engine import Engine
from dlpx_remote.engine_mounts import HostChoice, NfsChoice
from dlpx_remote.engine_storage import PoolChoice
from dlpx_remote.environments.model import Authentication, EnvironmentSpec
from dlpx_remote.errors import InvalidRequest, NotFound
from dlpx_remote.mounts import mountinfo
from tests.hosts.sshd import Sshd

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def engine(tmp_path: Path, clean_home: Path) -> Iterator[Engine]:
    """With the volume ``V``, and an environment ``here``."""
    (tmp_path / "sshd").mkdir()
    with Sshd(tmp_path / "sshd", quick=True) as server, Engine(tmp_path / "state") as engine:
        engine.storage.initialise(PoolChoice(tmp_path / "pool", kind="copy"))
        engine.storage.pool().create("V")
        (engine.storage.pool().path("V") / "file").write_text("hello")
        spec = EnvironmentSpec(
            "here",
            server.address,
            user=server.user,
            port=server.port,
            authentication=Authentication(key=str(server.user_key)),
            fingerprint=server.fingerprint(),
        )
        engine.add_environment(spec)
        yield engine
        engine.mounts.unmount("V", force=True)
        assert mountinfo.beneath(mountinfo.here(), str(tmp_path)) == []


@pytest.fixture
def command(engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["--state", str(tmp_path / "state"), *words])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def test_a_volume_is_mounted_shown_and_unmounted(engine: Engine, command: Command, tmp_path: Path) -> None:
    (tmp_path / "at").mkdir()
    place = tmp_path / "at" / "x"
    code, out, _ = command("mount", "V", "here", str(place), "--owner", "3700:3701")
    assert (code, "is mounted at" in out) == (0, True)
    assert (place / "file").read_text() == "hello"
    assert (place / "file").stat().st_uid == 3700
    assert command("mount", "V", "here", str(place))[0] == 0
    second = tmp_path / "at" / "y"
    assert command("mount", "V", "here", str(second), "--output", "json")[0] == 0
    assert (second / "file").stat().st_uid == 3700, "the owner is the volume's"
    mounts = json.loads(command("nfs", "status", "--output", "json")[1])["mounts"]
    assert [(each["volume"], each["environment"], each["path"]) for each in mounts] == [
        ("V", "here", str(place)),
        ("V", "here", str(second)),
    ]
    assert str(place) in command("nfs", "status")[1]
    assert command("unmount", "V", "here", str(place))[0] == 0
    assert (place.exists(), second.exists()) == (False, True)
    code, _, err = command("unmount", "V", "here", str(place))
    assert code != 0
    assert "V is not mounted there" in err
    assert command("unmount", "V")[0] == 0
    assert list((tmp_path / "at").iterdir()) == []


def test_what_is_wrong_is_said(engine: Engine, command: Command, tmp_path: Path) -> None:
    for words, message in (
        (("mount", "none", "here", "/mnt/x"), "There is no volume none"),
        (("mount", "V", "nowhere", "/mnt/x"), "nowhere"),
        (("mount", "V", "here", "mnt/x"), "is relative"),
        (("mount", "V", "here", "/mnt/x", "--owner", "anna"), "'anna' is no owner"),
        (("mount", "V", "here", "/mnt/x", "--part", "none"), "There is no directory 'none'"),
        (("nfs", "configure", "--port", "0"), "0 is not a port"),
    ):
        code, _, err = command(*words)
        assert code != 0
        assert message in err


def test_how_hosts_and_server_reach_each_other_is_kept(engine: Engine, command: Command) -> None:
    nfs = engine.mounts.nfs
    here = engine.environment("here")
    assert (nfs.reach(here).server, nfs.reach(here).clients) == (None, ())
    assert command("nfs", "configure", "--port", "12049", "--address", "192.0.2.1")[0] == 0
    assert nfs.choice() == NfsChoice(port=12049, address="192.0.2.1")
    assert nfs.reach(here).server == "192.0.2.1"
    words = ("nfs", "host", "here", "--address", "192.0.2.2", "--client", "192.0.2.3", "--option", "rw")
    assert command(*words)[0] == 0
    assert nfs.host(here.reference) == HostChoice("192.0.2.2", ("192.0.2.3",), ("rw",))
    reach = nfs.reach(here)
    assert (reach.server, reach.clients, reach.options) == ("192.0.2.2", ("192.0.2.3",), ("rw",))
    assert list(nfs.status().hosts) == [here.reference]
    assert command("nfs", "host", "here")[0] == 0
    assert nfs.reach(here).server == "192.0.2.1"
    assert command("nfs", "stop")[0] == 0
    with pytest.raises(InvalidRequest, match="no kind of NFS server"):
        nfs.configure(NfsChoice(kind="samba"))


def test_the_kernels_server_may_be_chosen_and_is_the_systems(engine: Engine, command: Command) -> None:
    nfs = engine.mounts.nfs
    code, _, err = command("nfs", "configure", "--kind", "kernel", "--port", "12049")
    assert code != 0
    assert "/etc/nfs.conf" in err
    assert command("nfs", "configure", "--kind", "kernel", "--any-port")[0] == 0
    assert nfs.choice() == NfsChoice(kind="kernel", any_port=True)
    assert nfs.exporter(None).kind == "kernel"
    assert nfs.exporter("ganesha").kind == "ganesha"
    assert "Server:  kernel, as the system has it" in command("nfs", "status")[1]
    code, _, err = command("nfs", "stop")
    assert code != 0
    assert "systemctl stop nfs-server" in err
    assert command("nfs", "configure", "--kind", "ganesha", "--low-ports")[0] == 0
    assert nfs.exporter(None).kind == "ganesha"


def test_an_owner_that_differs_is_refused(engine: Engine, command: Command, tmp_path: Path) -> None:
    assert command("mount", "V", "here", str(tmp_path / "at" / "x"), "--owner", "3700:3701")[0] == 0
    code, _, err = command("mount", "V", "here", str(tmp_path / "at" / "y"), "--owner", "1:1")
    assert code != 0
    assert "mounted elsewhere for another owner" in err
    with pytest.raises(NotFound, match="is not mounted there"):
        engine.mounts.unmount("V", "here", "/elsewhere")
