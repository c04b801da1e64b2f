"""The whole way of a volume to hosts and back, on this machine, looked at from outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import pytest

from dlpx_remote.mounts import attaching, kernelmounts, mountinfo, service
from dlpx_remote.mounts.base import MountBusy, MountFailed, MountRefused, Owner, Reach
from dlpx_remote.mounts.host import HostMounts
from dlpx_remote.mounts.local import LocalExporter
from dlpx_remote.store.ledger import Kind, Ledger, State
from dlpx_remote.transports.ssh import SshTarget
from tests.hosts.mounts.world import World, at
from tests.hosts.sshd import Sshd
from tests.hosts.transports.conftest import target_of

OWNER = Owner(3700, 3701)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshTarget]:
    with Sshd(tmp_path_factory.mktemp("sshd"), quick=True) as server:
        yield target_of(server)


@pytest.fixture
def world(tmp_path: Path, target: SshTarget) -> Iterator[World]:
    """Two environments, both this machine; nothing of a test is left mounted."""
    (tmp_path / "at").mkdir()
    with World(tmp_path, {"here": target, "there": target}) as world:
        yield world
        left = mounted_below(tmp_path)
        for point in reversed(left):
            kernelmounts.unmount(Path(point), lazy=True)
        assert not left


def mounted_below(directory: Path) -> list[str]:
    return [entry.point for entry in mountinfo.beneath(mountinfo.here(), str(directory))]


def nothing_left(world: World) -> None:
    """Seen from outside: mount table, exports, directories; and the ledger agrees."""
    assert mounted_below(world.directory) == []
    assert world.local.names() == frozenset()
    assert list((world.directory / "at").iterdir()) == []
    assert [path.name for path in world.presentations.path("x").parent.glob("[!.]*")] == []
    assert {entry.kind for entry in world.ledger.entries()} <= {Kind.VOLUME}


def test_a_volume_comes_and_goes(world: World, tmp_path: Path) -> None:
    place = tmp_path / "at" / "new" / "x"
    directory = world.volume("v")
    (mounted,) = world.mounts.attach("v", directory, [at(place)], owner=OWNER)
    assert (place / "file").read_text() == "v:"
    assert ((place / "file").stat().st_uid, (place / "file").stat().st_gid) == (OWNER.uid, OWNER.gid)
    assert (mounted.placement, mounted.version, mounted.remarks) == (at(place), "", ())
    assert mounted.source == str(world.presentations.path("v"))
    assert {entry.state for entry in world.ledger.entries(parent="v")} == {State.PRESENT}
    (again,) = world.mounts.attached("v")
    assert (again.placement, again.source) == (mounted.placement, mounted.source)
    assert world.mounts.attach("v", directory, [at(place)], owner=OWNER)[0].source == mounted.source
    assert world.mounts.detach("v") == ()
    nothing_left(world)
    assert world.mounts.detach("v") == ()
    assert world.mounts.attached("v") == []


def test_parts_of_a_volume_go_to_several_environments(world: World, tmp_path: Path) -> None:
    base = tmp_path / "at"
    wanted = [at(base / "all"), at(base / "data", "there", "data"), at(base / "deep", "there", "/log//deep/")]
    mounted = world.mounts.attach("v", world.volume("v"), wanted, owner=None)
    assert [Path(each.placement.mount_path).name for each in mounted] == ["all", "data", "deep"]
    assert (base / "all" / "file").read_text() == "v:"
    assert (base / "data" / "file").read_text() == "v:data"
    assert (base / "deep" / "file").read_text() == "v:log/deep"
    assert len(world.local.names()) == 3
    world.mounts.detach("v")
    nothing_left(world)


def test_nested_paths_are_right_whatever_the_order(world: World, tmp_path: Path) -> None:
    base = tmp_path / "at" / "x"
    directory = world.volume("v")
    os.chown(directory, OWNER.uid, OWNER.gid)
    wanted = [
        at(base / "new" / "in", shared="log"),
        at(base, shared="data"),
        at(base / "new", shared="log/deep"),
    ]
    world.mounts.attach("v", directory, wanted, owner=None)
    assert (base / "file").read_text() == "v:data"
    assert (base / "new" / "file").read_text() == "v:log/deep"
    assert (base / "new" / "in" / "file").read_text() == "v:log"
    world.mounts.attach("v", directory, wanted, owner=None)
    world.mounts.detach("v")
    nothing_left(world)
    assert not (directory / "data" / "new").exists(), "what was made in the volume to mount on is gone"
    assert not (directory / "log" / "deep" / "in").exists()


def test_a_specification_that_changed_is_followed(world: World, tmp_path: Path) -> None:
    base = tmp_path / "at"
    directory = world.volume("v")
    world.mounts.attach("v", directory, [at(base / "one"), at(base / "two")], owner=None)
    world.mounts.attach("v", directory, [at(base / "two"), at(base / "three", shared="data")], owner=OWNER)
    assert sorted(path.name for path in base.iterdir()) == ["three", "two"]
    assert (base / "two" / "file").stat().st_uid == OWNER.uid
    world.mounts.detach("v")
    nothing_left(world)


def test_what_cannot_be_meant_is_refused_before_anything_is_done(world: World, tmp_path: Path) -> None:
    directory = world.volume("v")
    (directory / "out").symlink_to("/etc")
    world.reaches["there"] = Reach("there", windows=True)
    place = tmp_path / "at" / "x"
    for placements, message in (
        ([at("relative")], "is relative"),
        ([at(f"{place}/../y")], r"has '\.\.' in it"),
        ([at(place, shared="../other")], r"has '\.\.' in it"),
        ([at(place, shared="out")], "symbolic link"),
        ([at(place, shared="none")], "There is no directory 'none'"),
        ([at(place, shared="file")], "There is no directory 'file'"),
        ([at(place), at(f"{place}/")], "twice"),
        ([at(place), at(place, "there")], "there is a Windows host"),
    ):
        with pytest.raises(MountRefused, match=message):
            world.mounts.attach("v", directory, placements, owner=None)
    nothing_left(world)


def test_a_part_that_fails_takes_the_whole_back(world: World, tmp_path: Path) -> None:
    base = tmp_path / "at"
    (base / "full").mkdir()
    (base / "full" / "mine").touch()
    with pytest.raises(MountRefused, match=r"is not empty \(it holds mine\)"):
        world.mounts.attach("v", world.volume("v"), [at(base / "a" / "b"), at(base / "full")], owner=OWNER)
    (base / "full" / "mine").unlink()
    (base / "full").rmdir()
    nothing_left(world)


def test_a_part_that_fails_leaves_what_was_there_before(world: World, tmp_path: Path) -> None:
    base = tmp_path / "at"
    directory = world.volume("v")
    world.mounts.attach("v", directory, [at(base / "a")], owner=None)
    (base / "file").touch()
    with pytest.raises(MountRefused, match="is no directory"):
        world.mounts.attach("v", directory, [at(base / "a"), at(base / "b"), at(base / "file")], owner=None)
    (base / "file").unlink()
    assert [path.name for path in base.iterdir()] == ["a"]
    assert len(world.mounts.attached("v")) == 1
    world.mounts.detach("v")
    nothing_left(world)


def test_a_place_that_another_volume_has_is_refused(world: World, tmp_path: Path) -> None:
    place = tmp_path / "at" / "x"
    world.mounts.attach("v", world.volume("v"), [at(place)], owner=None)
    with pytest.raises(MountRefused, match=r"mounted at .* already|is taken by v"):
        world.mounts.attach("w", world.volume("w"), [at(place)], owner=None)
    assert (place / "file").read_text() == "v:"
    world.mounts.detach("v")
    nothing_left(world)


def test_a_busy_mount_stays_whole_and_force_takes_it(world: World, tmp_path: Path) -> None:
    place = tmp_path / "at" / "x"
    world.mounts.attach("v", world.volume("v"), [at(place)], owner=None)
    with (place / "file").open():
        with pytest.raises(MountBusy, match=rf"in use by .*process {os.getpid()} of"):
            world.mounts.detach("v")
        assert len(world.mounts.attached("v")) == 1
        assert world.mounts.recover() == (), "it was not given up"
        assert (place / "file").read_text() == "v:"
        remarks = world.mounts.detach("v", force=True)
    assert any("umount -l" in remark for remark in remarks)
    nothing_left(world)


def test_a_host_that_is_away_stops_detaching_unless_forced(
    world: World, tmp_path: Path, target: SshTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "at" / "x"
    world.mounts.attach("v", world.volume("v"), [at(place)], owner=None)
    monkeypatch.setattr(world, "connection", lambda *_: (_ for _ in ()).throw(MountFailed("away")))
    with pytest.raises(MountFailed, match="away"):
        world.mounts.detach("v")
    monkeypatch.undo()
    world.mounts.detach("v")
    nothing_left(world)


def test_after_a_restart_of_the_machine_everything_is_served_again(world: World, tmp_path: Path) -> None:
    place = tmp_path / "at" / "x"
    directory = world.volume("v")
    world.mounts.attach("v", directory, [at(place)], owner=OWNER)
    for point in (place, world.presentations.path("v")):
        kernelmounts.unmount(point)
    world.local.remove("v.here")
    assert world.mounts.recover() == ()
    assert world.presentations.path("v").stat().st_uid == OWNER.uid
    assert world.local.names() == {"v.here"}
    assert world.mounts.attached("v") == [], "the host is asked for its own"
    world.mounts.attach("v", directory, [at(place)], owner=OWNER)
    assert (place / "file").read_text() == "v:"
    world.mounts.detach("v")
    nothing_left(world)


def test_what_a_running_job_has_begun_is_left_to_it(world: World, tmp_path: Path) -> None:
    place = tmp_path / "at" / "x"
    directory = world.volume("v")
    world.mounts.attach("v", directory, [at(place)], owner=None, job="JOB-1")
    entry = world.ledger.entries(kind=Kind.MOUNT)[0]
    world.ledger.removing(Kind.MOUNT, entry.name)
    assert world.mounts.recover(lambda job: job == "JOB-1") == ()
    assert (place / "file").exists()
    (remark,) = world.mounts.recover(lambda job: False)
    assert remark == f"The mount of v at {place} was to go and is gone."
    nothing_left(world)


# ---------------------------------------------------------------------- killed at every point

_STEPS: tuple[tuple[Any, str], ...] = (
    (Ledger, "intend"),
    (Ledger, "present"),
    (Ledger, "removing"),
    (Ledger, "gone"),
    (kernelmounts, "bind"),
    (kernelmounts, "unmount"),
    (LocalExporter, "add"),
    (LocalExporter, "remove"),
    (HostMounts, "_run_mount"),
    (HostMounts, "_either"),
    (HostMounts, "_unmount"),
    (attaching, "make_within"),
    (service, "remove_within"),
)
"""Everything that changes the ledger, this machine or a host. Before the one is after the one before it."""


def _killed_before(step: int, action: Callable[[], object]) -> NoReturn:
    """Do it in this (forked) process, and end by SIGKILL before that change; with 0 after the last."""

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal step
            step -= 1
            if step < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return run

    for owner, name in _STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
    try:
        action()
    except BaseException:
        os._exit(1)
    os._exit(0)


_CHANGES = 34  # of one attach of the specification below


class TestKilledAtEveryPoint:
    @pytest.fixture
    def wanted(self, tmp_path: Path) -> list[Any]:
        base = tmp_path / "at" / "x"
        return [at(base / "in", shared="data"), at(base), at(tmp_path / "at" / "other", "there", "log")]

    @pytest.fixture
    def points(self, request: pytest.FixtureRequest) -> Iterable[int]:
        """Before which change to kill, the last after all of them: a few, or with --all-faults all."""
        if request.config.getoption("--all-faults"):
            return range(100)
        seed = request.config.getoption("--fault-seed")
        return [*sorted(Random(seed).sample(range(_CHANGES), 4)), 100]

    def _kill(self, tmp_path: Path, target: SshTarget, step: int, action: Callable[[World], object]) -> int:
        child = os.fork()
        if child == 0:
            targets = {"here": target, "there": target}
            _killed_before(step, lambda: action(World(tmp_path, targets)))
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (0, -signal.SIGKILL)
        return ended

    def test_attaching_is_undone_or_whole(
        self,
        tmp_path: Path,
        target: SshTarget,
        wanted: list[Any],
        points: Iterable[int],
    ) -> None:
        (tmp_path / "at").mkdir()
        with World(tmp_path, {}) as world:
            directory = world.volume("v")

        def attach(world: World) -> None:
            world.mounts.attach("v", directory, wanted, owner=OWNER)

        for step in points:
            ended = self._kill(tmp_path, target, step, attach)
            with World(tmp_path, {"here": target, "there": target}) as world:
                world.mounts.recover()
                whole = len(world.mounts.attached("v")) == len(wanted)
                states = {entry.state for entry in world.ledger.entries(parent="v")}
                assert states <= {State.PRESENT}
                served = {entry.name for entry in world.ledger.entries(kind=Kind.EXPORT)}
                assert world.local.names() == served
                assert len(mounted_below(tmp_path / "at")) == len(world.ledger.entries(kind=Kind.MOUNT))
                if step % 2 and ended:
                    attach(world)  # also what is half done is a state to go on from
                    assert len(world.mounts.attached("v")) == len(wanted)
                elif not ended:
                    assert whole
                world.mounts.detach("v")
                nothing_left(world)
                assert not (directory / "in").exists()
            if ended == 0:
                break
        assert ended == 0
        assert step > 20

    def test_detaching_is_finished(
        self,
        tmp_path: Path,
        target: SshTarget,
        wanted: list[Any],
        points: Iterable[int],
    ) -> None:
        (tmp_path / "at").mkdir()
        with World(tmp_path, {}) as world:
            directory = world.volume("v")
        for step in points:
            with World(tmp_path, {"here": target, "there": target}) as world:
                world.mounts.attach("v", directory, wanted, owner=OWNER)
            ended = self._kill(tmp_path, target, step, lambda world: world.mounts.detach("v"))
            with World(tmp_path, {"here": target, "there": target}) as world:
                world.mounts.recover()
                states = {entry.state for entry in world.ledger.entries(parent="v")}
                assert states <= {State.PRESENT}
                world.mounts.detach("v")
                nothing_left(world)
                assert not (directory / "in").exists()
            if ended == 0:
                break
        assert ended == 0
        assert step > 15
