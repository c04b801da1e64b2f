"""Random kills of workers under concurrent jobs: no job is lost, nothing is run twice, no two jobs meet.

Some kills in the suite; ``tox -e soak`` for as long as wanted (``--soak-minutes``), with the kills 1 to 30
seconds apart.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import time
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.jobs.base import JobError, Request
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import JobDetails, JobState
from dlpx_remote.store import Store
from tests.jobs.soaking import AT_ONCE, ONCE, STEPS, work

_WORKERS = 2
_DATA_SETS = 6
_KILLS = 4  # in the suite
_PATIENCE = 60.0  # seconds for something to happen
_RECOVERY = 30.0


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_invariant_is_broken(
    tmp_path: Path, pytestconfig: pytest.Config, request: pytest.FixtureRequest, database: str
) -> None:
    minutes = pytestconfig.option.soak_minutes
    seed = pytestconfig.option.fault_seed
    chance = random.Random(seed)
    url = request.getfixturevalue("postgresql_url") if database == "postgresql" else None
    store = Store(tmp_path / "state", url)
    jobs = Jobs(store, {})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.jobs.soaking", "dbos"])

    def new_worker(number: int) -> Any:
        place = tmp_path / ("state" if url is None else f"worker{number}")
        process = context.Process(target=work, args=(str(place), url))
        process.start()
        return process

    workers = [new_worker(number) for number in range(_WORKERS)]
    references: list[str] = []
    kills = 0
    until = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    try:
        while time.monotonic() < until and (minutes is not None or kills < _KILLS):
            began, before = time.monotonic(), _ended(jobs)
            next_kill = began + (chance.uniform(0.1, 0.8) if minutes is None else chance.uniform(1, 30))
            while time.monotonic() < min(next_kill, until) or (
                minutes is None and _ended(jobs) == before and time.monotonic() < began + _PATIENCE
            ):
                waiting = len(jobs.all((JobState.QUEUED,), newest=AT_ONCE))
                for _ in range(AT_ONCE - waiting):
                    references.append(_submit(jobs, chance, tmp_path))
                if chance.random() < 0.05:
                    _cancel_one(jobs, chance)
                time.sleep(0.1)
            victim = chance.randrange(_WORKERS)
            workers[victim].kill()
            workers[victim].join()
            workers[victim] = new_worker(victim)
            kills += 1
        for job in jobs.all((JobState.QUEUED,), newest=100):
            with contextlib.suppress(JobError):
                jobs.cancel(job.reference)
        ended = [jobs.follow(reference, timeout=_RECOVERY) for reference in references]
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    print(f"{len(ended)} jobs, {kills} kills, seed {seed}: {Counter(str(job.state) for job in ended)}")
    for job in ended:
        _check(job)
    for data_set in tmp_path.glob("data-set-*"):
        _check_data_set(data_set, {job.reference: job for job in ended})
    store.close()


def _ended(jobs: Jobs) -> int:
    return len(jobs.all([state for state in JobState if state.ended], newest=1000))


def _submit(jobs: Jobs, chance: random.Random, directory: Path) -> str:
    number = chance.randrange(_DATA_SETS)
    order: Request = {
        "data_set": str(directory / f"data-set-{number}"),
        "seconds": chance.choice([0.0, 0.02, 0.1]),
        "fails_after": chance.choice([0, 0, 0, 1, 3, STEPS]),
    }
    return jobs.submit("tour", order, "tour", locks=[f"data set {number}"], detach=True)


def _cancel_one(jobs: Jobs, chance: random.Random) -> None:
    running = jobs.all((JobState.RUNNING,), newest=AT_ONCE)
    if running:
        with contextlib.suppress(JobError):  # it has ended or begun to undo in the meantime
            jobs.cancel(chance.choice(running).reference)


def _check(job: JobDetails) -> None:
    assert job.state in (JobState.SUCCEEDED, JobState.COMPENSATED, JobState.CANCELLED), job
    assert job.holds == ()
    assert all(step.finished for step in job.steps), job
    if job.state is JobState.SUCCEEDED:
        assert job.result == {"steps": STEPS}


def _check_data_set(path: Path, jobs: dict[str, JobDetails]) -> None:
    lines = [line.split() for line in path.read_text().splitlines()]
    turns = [reference for reference, _ in groupby(lines, key=lambda words: words[0])]
    assert len(turns) == len(set(turns)), "two jobs worked on one data set at the same time"
    for reference, group in groupby(lines, key=lambda words: words[0]):
        happened = [(word, int(number)) for _, word, number in group]
        for number in ONCE:
            assert happened.count(("do", number)) <= 1, f"{reference} ran step {number} twice"
        done = list(dict.fromkeys(number for word, number in happened if word == "do"))
        undone = list(dict.fromkeys(number for word, number in happened if word == "undo"))
        assert done == sorted(done)
        if jobs[reference].state is JobState.SUCCEEDED:
            assert (done, undone) == (list(range(1, STEPS + 1)), [])
        else:
            assert set(done) <= set(undone)
            assert undone == sorted(undone, reverse=True)
