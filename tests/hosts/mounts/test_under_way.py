"""What an earlier call has begun on a host and nobody waited for: a late command, a mount that goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlpx_remote.mounts import kernelmounts, look, timely
from dlpx_remote.mounts.base import MountFailed, MountUnderWay
from dlpx_remote.mounts.host import HostMounts
from dlpx_remote.mounts.source import Source
from dlpx_remote.mounts.timely import Changes
from dlpx_remote.store.ledger import Kind
from dlpx_remote.transports.privilege import Privileged
from dlpx_remote.transports.ssh import SshConnection, SshTarget, connect
from tests.hosts.mounts.world import World, at
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import target_of


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshTarget]:
    with Sshd(tmp_path_factory.mktemp("sshd"), quick=True) as server:
        yield target_of(server)


@pytest.fixture
def connection(target: SshTarget) -> Iterator[SshConnection]:
    with connect(target) as connection:
        yield connection


@pytest.fixture
def changes(connection: SshConnection) -> Changes:
    return Changes(connection, Privileged(connection))


class Mounting:
    """A process that is to the eye one that mounts; it ends when it is told to.

    Args:
        words: of its command.
    """

    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen(["sh", "-c", "read -r _", *words], stdin=subprocess.PIPE)

    def end(self) -> None:
        self._process.communicate(b"\n", timeout=30)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "SETTLING", 1.0)


def test_a_command_that_comes_too_late_does_nothing_and_is_sent_again(
    changes: Changes, tmp_path: Path
) -> None:
    changes.clock.heard("1.0 1.0")  # for this clock, what is sent now was to begin long ago
    made = changes.run(["mkdir", "--", str(tmp_path / "made")], timeout=30)
    assert (made.exit_code, made.stderr_text) == (0, ""), "it ran once"
    assert changes.until is None


def test_a_host_that_is_always_too_late_is_said(
    changes: Changes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timely, "WINDOW", -5)
    with pytest.raises(MountFailed, match="begins with commands more than") as caught:
        changes.run(["mkdir", "--", str(tmp_path / "made")], timeout=30)
    assert "try again" in caught.value.action
    assert not (tmp_path / "made").exists()


def test_a_host_that_does_not_tell_its_time_is_mounted_on_all_the_same(
    changes: Changes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timely.Clock, "now", None)
    assert changes.run(["mkdir", "--", str(tmp_path / "made")], timeout=30).exit_code == 0


@pytest.mark.usefixtures("impatient")
def test_a_mount_that_goes_on_is_waited_for_and_then_said(connection: SshConnection) -> None:
    source, mounts = Source("nfs", "192.0.2.1:/v", ()), HostMounts(connection)
    others = [
        Mounting("mount.nfs", source.name, "/srv/other", "-o", "rw"),
        Mounting("mount.nfs", "192.0.2.1:/w", "/srv/x y"),
        Mounting("umount", "-c", "-i", "--", "/srv/x"),
    ]
    assert mounts.settled("/srv/x y", source)
    for mine in (
        Mounting("mount.nfs", source.name, "/srv/x y", "-o", "rw"),
        Mounting("umount", "-c", "-i", "--", "/srv/x y"),
    ):
        with pytest.raises(MountUnderWay, match=r"192\.0\.2\.1:/v at /srv/x y .* still under way") as caught:
            mounts.unmount("/srv/x y", source, begun=True)
        assert "Bring the NFS server back" in caught.value.action
        mine.end()
    assert mounts.unmount("/srv/x y", source, begun=True) == ()
    for other in others:
        other.end()


def test_what_was_sent_over_a_lost_connection_is_waited_for(connection: SshConnection) -> None:
    source, mounts = Source("nfs", "192.0.2.1:/v", ()), HostMounts(connection)
    until = int(_uptime()) + 2
    mounts.settled("/srv/x", source, until)
    assert _uptime() > until
    mounts.settled("/srv/x", source, until + 100_000)  # said before the host was restarted
    assert _uptime() < until + 100_000


@pytest.mark.usefixtures("impatient")
def test_a_mount_that_goes_on_can_be_left_and_goes_when_it_has_ended(
    target: SshTarget, tmp_path: Path
) -> None:
    (tmp_path / "at").mkdir()
    place = tmp_path / "at" / "x"
    with World(tmp_path, {"here": target}) as world:
        world.mounts.attach("v", world.volume("v"), [at(place)], owner=None)
        (entry,) = world.ledger.entries(kind=Kind.MOUNT)
        world.ledger.removing(Kind.MOUNT, entry.name)  # as by an engine that died
        kernelmounts.unmount(place)
        mounting = Mounting("mount", "-o", "bind", str(world.presentations.path("v")), str(place))
        with pytest.raises(MountUnderWay):
            world.mounts.detach("v")
        remarks = world.mounts.detach("v", force=True)
        assert any("was left at" in remark and "under way" in remark for remark in remarks), remarks
        assert {entry.kind for entry in world.ledger.entries()} == {Kind.VOLUME, Kind.LEFT}
        (remark,) = world.mounts.recover()
        assert "could not be taken away" in remark
        mounting.end()
        assert any("is unmounted" in remark for remark in world.mounts.recover())
        assert {entry.kind for entry in world.ledger.entries()} == {Kind.VOLUME}
        assert list((tmp_path / "at").iterdir()) == []


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])
