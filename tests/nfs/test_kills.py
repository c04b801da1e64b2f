"""SIGKILL at every point of making, mounting, moving and deleting a clone over NFS, with a real client.

A forked engine dies before a step that changes something, or in the middle of one that others carry out: the
host, the NFS server. The next engine reconciles; what is there is then looked at from outside, and is what
the ledger says, finished or undone; the call can be made again, and all can be deleted without a rest. One
point, which the seed chooses; all with ``--all-faults``, or those named with ``--fault-point
"move/7/before"``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import dlpx_remote.mounts
import dlpx_remote.storage
import dlpx_remote.store
from tests.hosts.faults.journal import Progress, RecordFile
from tests.nfs.conftest import _Machines
from tests.nfs.kill_points import OPERATIONS, Point, delete, killed, points_of, rehearsed
from tests.nfs.kill_site import AREA, Opened, Site, kill_site
from tests.nfs.mounts_world import mounting_by_sudo
from tests.nfs.vm_host import VmHost
from tests.side_by_side import Say

SAMPLE = 1
FEWEST = {"provision": 31, "provision, cold": 33, "move": 26, "hand over": 37, "delete": 25}
"""Steps that each operation has at least; a sample is taken of these, without a rehearsal."""
_UNDER_TEST: tuple[ModuleType, ...] = (
    dlpx_remote.mounts,
    dlpx_remote.storage,
    dlpx_remote.store,
)


@pytest.fixture
def site(nfs_vm: VmHost, _machines: _Machines) -> Iterator[Site]:
    with mounting_by_sudo(nfs_vm, AREA), kill_site(nfs_vm) as site:
        yield site


def test_a_killed_engine_leaves_nothing_half_done(site: Site, pytestconfig: pytest.Config, say: Say) -> None:
    option = pytestconfig.option
    if option.all_faults and not option.fault_point:
        played = sweep(site, pytestconfig, say)
    else:
        points = [Point.parse(text) for text in option.fault_point] or sample(option.fault_seed)
        played = {str(point): play(site, point) for point in points}
    broken = sorted(f"{point}: {said}" for point, said in played.items() if said)
    if broken:
        broken.insert(0, f"{len(broken)} of {len(played)} points broke a promise:")
        pytest.fail("\n".join(broken), pytrace=False)


def sample(seed: int) -> list[Point]:
    """Some points, each of another operation."""
    seeded = random.Random(seed)
    return [Point(name, seeded.randrange(FEWEST[name])) for name in seeded.sample(list(OPERATIONS), SAMPLE)]


def sweep(site: Site, config: pytest.Config, say: Say) -> dict[str, str]:
    """Play every point that the journal does not know; by point what broke, empty where nothing did."""
    assert config.cache is not None
    path: Path = config.option.fault_journal or Path(config.cache.mkdir("faults")) / "nfs-kills.jsonl"
    journal = RecordFile(path, _UNDER_TEST)
    records = journal.read()
    if not records:
        journal.begin({"steps": {name: _rehearse(site, name) for name in OPERATIONS}})
        records = journal.read()
    head, *done = records
    points = [point for name, steps in head["steps"].items() for point in points_of(name, steps)]
    played: dict[str, str] = {record["point"]: record["broken"] for record in done}
    say(f"\n{len(points)} points, {len(played)} of them done before; journal: {path}")
    progress = Progress(len(points), len(played))
    until = time.monotonic() + 60 * (config.option.fault_minutes or float("inf"))
    for point in points:
        if str(point) in played:
            continue
        if time.monotonic() > until:
            pytest.fail("Not all points are played yet: run it again to go on.", pytrace=False)
        played[str(point)] = said = play(site, point)
        journal.add({"point": str(point), "broken": said})
        if said:
            name = (head["steps"][point.operation] + ["the end"])[point.number]
            say(f"broken: {point} ({name}): {said}")
        for line in progress.lines(len(played), sum(bool(each) for each in played.values())):
            say(line)
    return played


def play(site: Site, point: Point) -> str:
    """Kill at a point, and judge what comes after; what did not hold."""
    operation = OPERATIONS[point.operation]
    _prepare(site, operation.cold)
    said = ""
    try:
        struck, session = killed(site, point)
        with site.opened() as opened:
            remarks = [*_recover(opened)]
            _judge(site, opened)
            if not struck:
                assert not remarks, f"it was done, and yet: {remarks}"
            if point.number % 2 or not struck:
                operation.call(opened)  # also what is half done is a state to go on from
                _judge(site, opened)
            delete(opened)
            _judge(site, opened)
            assert [entry.name for entry in opened.world.ledger.entries()] == ["data", "snapshot"]
        assert (left := site.at_work(session)) == [], left
    except Exception as error:  # the sweep goes on
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"[:1500]
        _clear(site)
    return said


def _rehearse(site: Site, name: str) -> list[str]:
    operation = OPERATIONS[name]
    _prepare(site, operation.cold)
    steps = rehearsed(site, name)
    assert len(steps) >= FEWEST[name], f"{name} has {len(steps)} steps: {steps}"
    with site.opened() as opened:
        delete(opened)
    return steps


def _prepare(site: Site, cold: bool) -> None:
    if cold:
        site.server.stop()
    else:
        site.start_server()


def _recover(opened: Opened) -> Iterator[str]:
    recovered = opened.pool.recover()
    assert recovered.under_way == ()
    yield from (*recovered.finished, *recovered.undone, *recovered.deleted)
    yield from opened.world.mounts.recover()


def _judge(site: Site, opened: Opened) -> None:
    """That what is there is what the ledger says."""
    expected, seen = vars(site.expected(opened.world.ledger)), vars(site.seen())
    wrong: dict[str, Any] = {
        name: (seen[name], expected[name]) for name in seen if seen[name] != expected[name]
    }
    assert not wrong, f"found, and expected: {wrong}"


def _clear(site: Site) -> None:
    """Of what one point has left, the next ones must not suffer."""
    site.clear_host()
    with site.opened() as opened:
        opened.pool.recover()
        opened.world.mounts.recover()
        delete(opened)
