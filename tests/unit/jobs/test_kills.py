"""SIGKILL before, after and between effect and record of every step: each job is finished or undone by the
next process, and what must not be run twice is not. A seeded sample; all points with ``--all-faults``."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.jobs.base import Request
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import JobDetails, JobState, StepState
from dlpx_remote.store import Store
from tests.unit.jobs.victim import (
    FORWARD,
    ONCE,
    POINTS_OF_A_JOB,
    POINTS_OF_A_STEP,
    life,
    recover,
    run_until_killed,
    world,
)

_RECOVERY = 30.0  # seconds that the next process has
_VICTIMS_AT_ONCE = 4
_SAMPLE = 16


@dataclass(frozen=True)
class Kill:
    """A point at which a process dies."""

    title: str
    point: str
    fails: bool

    @property
    def name(self) -> str:
        return f"{self.title or 'job'}, {self.point}{', failing' if self.fails else ''}"


def _kills() -> list[Kill]:
    undo = [f"undo {title}" for title in reversed(FORWARD)]
    return [
        *(Kill(title, point, False) for title in FORWARD for point in POINTS_OF_A_STEP),
        *(Kill(title, point, True) for title in undo for point in POINTS_OF_A_STEP),
        *(Kill("", point, fails) for point in POINTS_OF_A_JOB for fails in (False, True)),
    ]


def _chosen(config: pytest.Config) -> list[Kill]:
    if config.option.all_faults:
        return _kills()
    return random.Random(config.option.fault_seed).sample(_kills(), _SAMPLE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kill" in metafunc.fixturenames:
        metafunc.parametrize("kill", _chosen(metafunc.config), ids=lambda kill: kill.name)


@dataclass(frozen=True)
class Found:
    """What is there after the next process has done its work."""

    job: JobDetails
    world: list[str]


@dataclass(frozen=True)
class Aftermath:
    """Everything that the kills left."""

    found: dict[str, Found]
    locks_left: list[str]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Aftermath]:
    """All victims on one state, then one process that recovers what they left."""
    directory = tmp_path_factory.mktemp("kills")
    state = str(directory / "state")
    Store(Path(state)).close()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.jobs.victim", "dbos"])
    kills = _chosen(pytestconfig)
    requests = {kill.name: _request(directory, number, kill) for number, kill in enumerate(kills)}
    waiting = list(kills)
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < _VICTIMS_AT_ONCE:
            kill = waiting.pop()
            victim = context.Process(
                target=run_until_killed, args=(state, requests[kill.name], kill.title, kill.point)
            )
            victim.start()
            running.append(victim)
        running[0].join(60)
        assert running[0].exitcode == -9, "it should have died at its point"
        running.pop(0)
    heir = context.Process(target=recover, args=(state, _RECOVERY))
    heir.start()
    heir.join(2 * _RECOVERY)
    assert heir.exitcode == 0
    store = Store(Path(state))
    with Jobs(store, {"life": life}) as jobs:
        known = {
            job.request["name"]: job
            for job in map(jobs.get, (job.reference for job in jobs.all(newest=1000)))
        }
        yield Aftermath(
            {name: Found(known[name], world(request)) for name, request in requests.items()},
            [lock for job in known.values() for lock in job.holds],
        )
    store.close()


def _request(directory: Path, number: int, kill: Kill) -> Request:
    return {"world": str(directory / f"world{number}"), "fails": kill.fails, "name": kill.name}


def test_a_killed_job_is_finished_or_undone_and_nothing_is_run_twice(
    kill: Kill, aftermath: Aftermath
) -> None:
    found = aftermath.found[kill.name]
    assert found.job.state.ended
    assert all(step.finished for step in found.job.steps)
    for title in ONCE:
        assert found.world.count(f"do {title}") <= 1, "a plugin operation was run twice"
    interrupted = kill.title in ONCE and kill.point in ("begun", "effect", "ended")
    if kill.fails or interrupted:
        assert found.job.state is JobState.COMPENSATED
        done = {words.removeprefix("do ") for words in found.world if words.startswith("do ")}
        undone = {words.removeprefix("undo ") for words in found.world if words.startswith("undo ")}
        assert done <= undone
    else:
        assert found.job.state is JobState.SUCCEEDED
        assert found.job.result == {"steps": len(FORWARD)}
        assert [f"do {title}" for title in FORWARD] == list(dict.fromkeys(found.world))
    if interrupted:
        assert found.job.failure is not None
        assert f"ended while the step {kill.title!r}" in found.job.failure.message
        assert StepState.INTERRUPTED in [step.state for step in found.job.steps]


def test_the_next_process_frees_what_the_dead_held(aftermath: Aftermath) -> None:
    assert aftermath.locks_left == []
