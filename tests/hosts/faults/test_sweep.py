"""The stream is cut, reset, stalled or spoilt at some byte: no lie, no second run, no hang, nothing left."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.hosts.faults.conftest import ServerFactory
from tests.hosts.faults.leftovers import wait_until_empty
from tests.hosts.faults.sweep import (
    Outcome,
    Point,
    Stage,
    all_points,
    play_all,
    sample,
    table,
)

BATCH = 400


@pytest.fixture
def stage(server_with: ServerFactory, tmp_path: Path) -> Stage:
    return Stage(server_with("MaxStartups 500", "MaxSessions 20", "LogLevel QUIET"), tmp_path)


def test_without_a_fault_everything_succeeds(stage: Stage) -> None:
    stage.lengths()
    outcome = stage.play(None)
    outcome.struck = True
    stage.judge(outcome)
    assert outcome.broken == []
    assert set(outcome.said.values()) == {"success"}


def test_no_fault_at_any_byte_makes_the_transport_lie_repeat_or_hang(
    stage: Stage, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    option = pytestconfig.option
    threads = set(threading.enumerate())
    points = all_points(stage.lengths())
    if option.fault_point:
        points = [Point.parse(text) for text in option.fault_point]
    elif not option.all_faults:
        points = sample(points, option.fault_points, option.fault_seed)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    for start in range(0, len(points), BATCH):
        outcomes += play_all(stage, points[start : start + BATCH])
        wait_until_empty(lambda: [repr(thread) for thread in set(threading.enumerate()) - threads])
    with capsys.disabled():
        print(f"\n{len(outcomes)} points in {time.monotonic() - began:.0f} s")
        print("\n".join(table(outcomes)))
    broken = [f"{outcome.point}: {'; '.join(outcome.broken)}" for outcome in outcomes if outcome.broken]
    if broken:
        pytest.fail(f"{len(broken)} of {len(outcomes)} points:\n" + "\n".join(broken), pytrace=False)
