"""Which processes count as dead."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dlpx_remote.jobs.liveness import SILENCE, Identity, Watch, own_identity


class Clock:
    """Seconds that the test decides on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


ELSEWHERE = Identity("e", "far", "another boot 4026531836", 1, 1)


def test_a_living_process_of_this_machine_lives_however_long_it_is_silent(clock: Clock) -> None:
    watch = Watch(clock)
    for _ in range(10):
        assert not watch.dead(own_identity(), 0)
        clock.now += 5.0


def test_a_process_of_this_machine_that_has_ended_is_dead_at_once(clock: Clock) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mine = own_identity()
    ticks = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    identity = replace(mine, process=child.pid, started_ticks=ticks)
    watch = Watch(clock)
    assert not watch.dead(identity, 0)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert watch.dead(identity, 0), "what is left of a process until its parent looks is dead too"
    child.communicate()
    assert watch.dead(identity, 0)


def test_another_process_that_got_its_number_does_not_count_as_it(clock: Clock) -> None:
    assert Watch(clock).dead(replace(own_identity(), started_ticks=1), 0)


def test_a_process_elsewhere_lives_as_long_as_it_beats(clock: Clock) -> None:
    watch = Watch(clock)
    for beats in range(20):
        assert not watch.dead(ELSEWHERE, beats)
        clock.now += 5.0


def test_a_process_elsewhere_is_dead_after_a_silence(clock: Clock) -> None:
    watch = Watch(clock)
    for _ in range(int(SILENCE / 2) + 1):
        assert not watch.dead(ELSEWHERE, 7)
        clock.now += 2.0
    assert watch.dead(ELSEWHERE, 7)


def test_what_was_not_looked_at_is_not_silence(clock: Clock) -> None:
    """The database was away for a minute: nobody could beat, and nobody is dead for that."""
    watch = Watch(clock)
    assert not watch.dead(ELSEWHERE, 7)
    clock.now += 60.0
    assert not watch.dead(ELSEWHERE, 7)


def test_a_jump_of_the_wall_clock_kills_nobody(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    watch = Watch(clock)
    assert not watch.dead(ELSEWHERE, 7)
    clock.now += 1.0
    assert not watch.dead(ELSEWHERE, 7)
