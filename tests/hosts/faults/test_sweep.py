"""The stream is cut, reset, stalled or spoilt at some byte: no lie, no second run, no hang, nothing left."""

from __future__ import annotations

import random
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.faults.conftest import ServerFactory
from tests.hosts.faults.journal import Journal, Progress
from tests.hosts.faults.points import Outcome, Point, all_points, mixed, sample, table
from tests.hosts.faults.sweep import Host, Lane, Stage, judge
from tests.hosts.faults.workers import BATCH, play_in_processes
from tests.side_by_side import Say

HostFactory = Callable[[], Host]


@pytest.fixture
def start_host(server_with: ServerFactory) -> HostFactory:
    """A host on which points can be played, with every call another one."""
    return lambda: Host.of(server_with("MaxStartups 500", "MaxSessions 20", "LogLevel QUIET", quick=True))


def test_without_a_fault_everything_succeeds(start_host: HostFactory, tmp_path: Path) -> None:
    stage = Stage(start_host(), tmp_path)
    stage.measure()
    with Lane(stage) as lane:
        played = lane.play(None)
    played.outcome.struck = True
    judge(played)
    assert played.outcome.broken == []
    assert set(played.outcome.said.values()) == {"success"}


def test_no_fault_at_any_byte_makes_the_transport_lie_repeat_or_hang(
    start_host: HostFactory, tmp_path: Path, pytestconfig: pytest.Config, say: Say
) -> None:
    option = pytestconfig.option
    hosts = [start_host() for _ in range(option.fault_processes)]
    stage = Stage(hosts[0], tmp_path)
    lengths = stage.measure()
    if option.all_faults and not option.fault_point:
        outcomes, missing = _sweep(hosts, stage, _journal(pytestconfig), option, say)
    else:
        points = [Point.parse(text) for text in option.fault_point]
        points = points or sample(all_points(lengths), option.fault_points, option.fault_seed)
        points, missing = mixed(points, option.fault_seed), 0
        began = time.monotonic()
        share = -(-len(points) // len(hosts))
        outcomes = [
            outcome
            for batch in play_in_processes(hosts, tmp_path, stage.deadline, points, min(BATCH, share))
            for outcome in batch
        ]
        say(f"\n{len(outcomes)} points in {time.monotonic() - began:.0f} s")
    say("\n".join(table(outcomes)))
    wrong = sorted(f"{one.point}: {'; '.join(one.broken)}" for one in outcomes if one.broken)
    if wrong:
        wrong.insert(0, f"{len(wrong)} of {len(outcomes)} broke a promise:")
    if missing:
        wrong.append(f"{missing} points are not played yet: run it again to go on.")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def _journal(config: pytest.Config) -> Journal:
    if config.option.fault_journal:
        return Journal(config.option.fault_journal)
    assert config.cache is not None
    return Journal(config.cache.mkdir("faults") / "journal.jsonl")


def _sweep(
    hosts: list[Host], stage: Stage, journal: Journal, option: Namespace, say: Say
) -> tuple[list[Outcome], int]:
    """Play every point that the journal does not know; all outcomes, and how many points are not played."""
    if journal.lengths is None or not (remaining := _remaining(journal, option)):
        journal.begin(stage.measure())
        remaining = _remaining(journal, option)
    total = len(journal.done) + len(remaining)
    say(f"\n{total} points, {len(journal.done)} of them done before; journal: {journal.path}")
    progress = Progress(total, len(journal.done))
    until = time.monotonic() + 60 * (option.fault_minutes or float("inf"))
    points = (point for point in remaining if time.monotonic() < until)
    directory = stage.source.parent
    for outcomes in play_in_processes(hosts, directory, stage.deadline, points):
        journal.add(outcomes)
        broken = [outcome for outcome in journal.outcomes if outcome.broken]
        for line in progress.lines(len(journal.done), len(broken)):
            say(line)
        for outcome in outcomes:
            if outcome.broken:
                say(f"broken: {outcome.point}: {'; '.join(outcome.broken)}")
    return journal.outcomes, len(_remaining(journal, option))


def _remaining(journal: Journal, option: Namespace) -> list[Point]:
    assert journal.lengths is not None
    phases = option.fault_phase
    points = [
        point
        for point in all_points(journal.lengths)
        if point not in journal.done and (not phases or point.phase in phases)
    ]
    return mixed(points, random.randrange(1_000_000))
