"""The network is cut, or the server falls silent, while a host mounts or unmounts; the host is rebooted.

No call hangs, each error is one of ours, and the next call comes to a right state, also where what was begun
is finished late on the host. The cuts of the network always; all cases with ``--all-faults``, or those named
with ``--fault-point``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dlpx_remote.mounts import host as host_module
from dlpx_remote.mounts import look as look_module
from dlpx_remote.mounts import timely
from dlpx_remote.mounts.base import ExportFailed, MountBusy, MountFailed, Owner
from dlpx_remote.mounts.host import HostMounts
from dlpx_remote.store.ledger import Kind
from dlpx_remote.transports.base import TransportError
from tests.nfs.mounts_world import NfsWorld, on
from tests.nfs.vm_host import VmHost

AT = "/srv/at/x"
_PATIENCE = 90.0
_IMPATIENT = (
    (host_module, "MOUNTING", 5.0),
    (host_module, "UNMOUNTING", 6.0),
    (look_module, "PATIENCE", 6.0),
    (look_module, "SETTLING", 2.0),
    (look_module, "WINDOW", 5),
    (timely, "WINDOW", 5),
)
"""Once something is disturbed; what works takes its time on a busy machine."""


class Scene:
    """An engine and a host between which the network can be cut.

    Args:
        world: the engine; what it knows of the host is one placement.
        host: the machine.
        owner: of the data there.
        patch: is undone by itself.
    """

    def __init__(self, world: NfsWorld, host: VmHost, owner: Owner, patch: pytest.MonkeyPatch) -> None:
        self.world, self.host, self._owner, self._patch = world, host, owner, patch
        self.directory = world.volume("v")

    def attach(self) -> None:
        self.world.mounts.attach("v", self.directory, [on("one", AT)], owner=self._owner)

    def at(self, name: str, disturb: Callable[[], object]) -> None:
        """Disturb each time that a method of :class:`HostMounts` is about to be called; be less patient."""
        for module, limit, seconds in _IMPATIENT:
            self._patch.setattr(module, limit, seconds)
        original = getattr(HostMounts, name)

        def disturbed(*arguments: Any, **options: Any) -> Any:
            disturb()
            return original(*arguments, **options)

        self._patch.setattr(HostMounts, name, disturbed)

    def undisturbed(self) -> None:
        """From now on all is as it should be, and the engine is a new one."""
        self._patch.undo()
        self.resume()
        self.host.vm.restore_network()
        self.world.disconnect()

    def silence(self) -> None:
        """The server answers nothing, and its connections stay."""
        process = self.world.server.process()
        assert process is not None
        os.kill(process, signal.SIGSTOP)

    def resume(self) -> None:
        process = self.world.server.process()
        assert process is not None
        os.kill(process, signal.SIGCONT)

    def silence_and_cut_when_mounting(self) -> None:
        """Once the host really mounts, the network goes, too."""
        self.silence()
        threading.Thread(target=self._cut_when_mounting, daemon=True).start()

    def mounted(self) -> int:
        """How often, seen from the host."""
        return int(self.host.root(f"grep -c ' {AT} ' /proc/mounts || true"))

    def wait_until_nothing_mounts(self) -> None:
        self.eventually("! pgrep -x mount.nfs >/dev/null")

    def eventually(self, holds: str) -> None:
        """Until a command succeeds on the host."""
        until = time.monotonic() + _PATIENCE
        while self.host.root(f"({holds}) && echo yes || true") != "yes\n":
            assert time.monotonic() < until, holds
            time.sleep(0.3)

    def _cut_when_mounting(self) -> None:
        self.eventually("pgrep -x mount.nfs >/dev/null")
        self.host.vm.cut_network()


@pytest.fixture
def scene(
    world: NfsWorld, detached: None, nfs_vm: VmHost, engine_user: Owner, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    scene = Scene(world, nfs_vm, engine_user, monkeypatch)
    yield scene
    scene.undisturbed()
    nfs_vm.root("rm -f /tmp/.dlpx-remote.*")  # how commands ended whose connection was lost


def a_mount_that_outlives_its_deadline_is_undone(scene: Scene) -> None:
    scene.at("_run_mount", scene.silence)
    with pytest.raises(MountFailed, match="got no answer in time"):
        scene.attach()
    (remark,) = scene.world.mounts.recover()
    assert "begun earlier is still under way" in remark
    scene.undisturbed()
    scene.wait_until_nothing_mounts()
    assert scene.mounted() == 1, "it was finished late"
    remarks = scene.world.mounts.recover()
    assert any("is gone" in remark for remark in remarks), remarks


def a_mount_that_outlives_its_connection_is_kept_by_the_next_call(scene: Scene) -> None:
    scene.at("_run_mount", scene.silence_and_cut_when_mounting)
    with pytest.raises((TransportError, MountFailed)):
        scene.attach()
    scene.undisturbed()
    scene.attach()
    assert scene.mounted() == 1
    assert len(scene.world.mounts.attached("v")) == 1
    assert scene.world.mounts.detach("v") == ()


def a_mount_that_is_sent_into_a_cut_network_never_comes(scene: Scene) -> None:
    scene.at("_run_mount", scene.host.vm.cut_network)
    with pytest.raises((TransportError, MountFailed)):
        scene.attach()
    scene.undisturbed()
    scene.world.mounts.recover()
    assert scene.world.ledger.entries(kind=Kind.MOUNT) == []
    time.sleep(5)  # in which the old connection's words arrive, if they do
    assert scene.mounted() == 0


def an_unmount_that_is_sent_into_a_cut_network_does_no_harm_later(scene: Scene) -> None:
    scene.attach()
    scene.at("_unmount", scene.host.vm.cut_network)
    with pytest.raises((TransportError, MountFailed)):
        scene.world.mounts.detach("v")
    scene.undisturbed()
    scene.attach()
    time.sleep(5)
    assert scene.mounted() == 1
    assert scene.world.mounts.detach("v") == ()


def an_unmount_without_an_answer_of_the_server_is_finished_by_the_next_call(scene: Scene) -> None:
    scene.attach()
    scene.host.root(f"echo more >{AT}/log/more 2>/dev/null || true")
    scene.at("_unmount", scene.silence)
    with contextlib.suppress(MountBusy, ExportFailed):  # or it ends without the server's leave
        scene.world.mounts.detach("v")
    scene.undisturbed()
    scene.world.mounts.detach("v")


def a_host_that_was_rebooted_is_mounted_on_again(scene: Scene) -> None:
    other = scene.world.volume("w")
    scene.attach()
    scene.world.mounts.attach("w", other, [on("one", "/srv/at/w")], owner=None)
    scene.host.root("sync")
    scene.host.vm.reboot()
    scene.undisturbed()
    assert scene.world.mounts.attached("v") == [], "it is noticed"
    assert scene.world.mounts.recover() == ()
    assert scene.world.mounts.detach("w") == (), "what the reboot has taken away need not be there"
    scene.attach()
    assert scene.mounted() == 1
    assert scene.host.root(f"cat {AT}/file") == "v:"
    assert scene.world.mounts.detach("v") == ()


def a_directory_that_was_taken_away_does_not_come_back_with_the_power(scene: Scene) -> None:
    scene.host.root("sync")
    scene.attach()
    scene.host.root("sync")
    assert scene.world.mounts.detach("v") == ()
    scene.host.vm.reboot()
    assert scene.host.root(f"ls -d {AT} 2>/dev/null || true") == ""


CUTS = (
    a_mount_that_is_sent_into_a_cut_network_never_comes,
    an_unmount_that_is_sent_into_a_cut_network_does_no_harm_later,
)
CASES = (
    *CUTS,
    a_mount_that_outlives_its_deadline_is_undone,
    a_mount_that_outlives_its_connection_is_kept_by_the_next_call,
    an_unmount_without_an_answer_of_the_server_is_finished_by_the_next_call,
    a_host_that_was_rebooted_is_mounted_on_again,
    a_directory_that_was_taken_away_does_not_come_back_with_the_power,
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The cases of this run."""
    option = metafunc.config.option
    named = [case for case in CASES if case.__name__ in option.fault_point]
    chosen = named or (CASES if option.all_faults else CUTS)
    metafunc.parametrize("case", chosen, ids=lambda case: case.__name__)


def test_what_is_interrupted_comes_right_with_the_next_call(
    scene: Scene, case: Callable[[Scene], None]
) -> None:
    case(scene)
    assert scene.mounted() == 0
    assert scene.host.root("ls -A /srv/at") == ""
    assert scene.world.exporter.names() == frozenset()
    assert scene.world.presentations.names() == frozenset()
    assert {entry.kind for entry in scene.world.ledger.entries()} == {Kind.VOLUME}
