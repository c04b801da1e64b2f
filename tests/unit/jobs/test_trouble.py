"""A locked database, a journal that fails, several engines on one state, an upgrade in between."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dlpx_remote.jobs import runner
from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.jobs.durable import JOURNAL, Durable
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import JobState, StepState
from dlpx_remote.store import Store
from tests.unit.jobs.conftest import jobs_on
from tests.unit.jobs.counting import Counting

_LONG = 60.0


@pytest.mark.parametrize("database", ["state.db", JOURNAL])
def test_a_job_waits_while_another_process_keeps_the_database_locked(store: Store, database: str) -> None:
    counting = Counting()
    counting.go.clear()
    with jobs_on(store, count=counting) as jobs:
        reference = jobs.submit("count", {}, "count")
        assert counting.at.wait(_LONG)
        other = sqlite3.connect(store.directory / database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        counting.go.set()
        assert jobs.follow(reference, timeout=1.0).state is JobState.RUNNING
        other.execute("ROLLBACK")
        other.close()
        assert jobs.result(reference, timeout=_LONG) == "three"
    assert counting.ran == {"one": 1, "two": 1, "three": 1, "undo": 0}


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_step_whose_record_in_the_journal_fails_is_not_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    counting = Counting()
    journal, calls = Durable.journal, 0

    def failing(self: Durable, action: Any) -> str:
        nonlocal calls
        calls += 1
        if calls == step:
            action()
            raise sqlite3.OperationalError("disk I/O error")
        return journal(self, action)

    monkeypatch.setattr(Durable, "journal", failing)
    monkeypatch.setattr(runner, "_AGAIN", 0.1)
    with jobs_on(store, count=counting) as jobs:
        job = jobs.follow(jobs.submit("count", {}, "count"), timeout=_LONG)
    assert (job.state, job.result, job.attempt) == (JobState.SUCCEEDED, "three", 2)
    assert counting.ran == {"one": 1, "two": 1, "three": 1, "undo": 0}


@pytest.mark.parametrize("hand", ["start", "resume"])
def test_a_job_that_the_durable_engine_does_not_take_is_handed_to_it_again(
    store: Store, interrupted: str, monkeypatch: pytest.MonkeyPatch, hand: str
) -> None:
    original, calls = getattr(Durable, hand), 0

    def refuse_once(self: Durable, workflow_id: str, reference: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise sqlite3.OperationalError("disk I/O error")
        original(self, workflow_id, reference)

    monkeypatch.setattr(Durable, hand, refuse_once)
    monkeypatch.setattr(runner, "_AGAIN", 0.1)
    with jobs_on(store, count=lambda job, _request: job.step("one", lambda: 1)) as jobs:
        reference = jobs.submit("count", {}, "count") if hand == "start" else interrupted
        jobs.open_for_work()
        assert jobs.result(reference, timeout=_LONG) == 1
    assert calls > 1 or hand == "start"


_SECOND = """
import sys
from pathlib import Path
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.store import Store

def append(job, request):
    for number in range(5):
        job.step(f"append {number}", lambda: open(request["file"], "a").write("x"))

store = Store(Path(sys.argv[1]))
with Jobs(store, {"append": append}) as jobs:
    for number in range(5):
        jobs.run("append", {"file": sys.argv[2]}, "append", locks=["the file"])
"""


def test_engines_in_several_processes_share_one_state(store: Store, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _SECOND, str(store.directory), str(tmp_path / "file")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    with jobs_on(store) as jobs:
        states = [job.state for job in jobs.all(newest=100)]
    assert states == [JobState.SUCCEEDED] * 15
    assert (tmp_path / "file").read_text() == "x" * 75


def _die_in_second_step(job: Job, request: Request) -> None:
    job.step("one", lambda: 1)
    job.step("two", lambda: os._exit(9))


@pytest.fixture
def interrupted(store: Store) -> str:
    """A job whose process died in its second step."""
    process = os.fork()
    if process == 0:
        try:
            mine = Store(store.directory)
            jobs = Jobs(mine, {"count": _die_in_second_step})
            jobs.result(jobs.submit("count", {}, "count", locks=["data set DS-1"]))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9
    return "JOB-1"


def test_after_an_upgrade_a_job_whose_workflow_is_the_same_goes_on(store: Store, interrupted: str) -> None:
    def same(job: Job, request: Request) -> Any:
        assert job.step("one", lambda: 10) == 1
        job.step("two", lambda: 2)
        return "done"

    with jobs_on(store, count=same) as jobs:
        assert jobs.adopt(interrupted)
        assert jobs.result(interrupted, timeout=_LONG) == "done"


def test_after_an_upgrade_a_job_whose_workflow_has_changed_undoes_what_it_did(
    store: Store, interrupted: str
) -> None:
    undone: list[str] = []

    def other(job: Job, request: Request) -> None:
        try:
            job.step("quite another", lambda: undone.append("never"))
        except Exception as reason:
            job.compensating(reason)
            job.step("undo", lambda: undone.append("undo"))
            raise

    with jobs_on(store, count=other) as jobs:
        jobs.open_for_work()
        job = jobs.follow(interrupted, timeout=_LONG)
    assert job.state is JobState.COMPENSATED
    assert undone == ["undo"]
    assert job.failure is not None
    assert "begun by another version of dlpx-remote" in job.failure.message
    assert job.steps[-1].title == "undo"


def test_after_an_upgrade_a_job_that_nobody_knows_fails_and_frees_what_it_held(
    store: Store, interrupted: str
) -> None:
    with jobs_on(store) as jobs:
        assert jobs.get(interrupted).holds == ("data set DS-1",)
        jobs.open_for_work()
        job = jobs.follow(interrupted, timeout=_LONG)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert "does not have" in job.failure.message
    assert job.holds == ()
    assert [step.state for step in job.steps] == [StepState.DONE, StepState.RUNNING]


def test_a_job_of_a_dead_process_is_cancelled_by_whoever_takes_it_over(
    store: Store, interrupted: str
) -> None:
    counting = Counting()
    with jobs_on(store, count=counting) as jobs:
        jobs.cancel(interrupted)
        assert jobs.adopt(interrupted)
        job = jobs.follow(interrupted, timeout=_LONG)
    assert job.state is JobState.CANCELLED
    assert counting.ran == {"one": 0, "two": 0, "three": 0, "undo": 1}


def test_an_old_journal_does_not_answer_for_a_new_job(store: Store, tmp_path: Path) -> None:
    """The state was lost and begun anew, but the journal beside it was kept."""
    with jobs_on(store, count=Counting()) as jobs:
        jobs.run("count", {}, "count")
    other = Store(tmp_path / "other")
    (store.directory / JOURNAL).rename(other.directory / JOURNAL)
    counting = Counting()
    with jobs_on(other, count=counting) as jobs:
        assert jobs.run("count", {}, "count") == "three"
    other.close()
    assert counting.ran["two"] == 1


def test_closing_in_the_middle_leaves_the_job_to_the_next_process(store: Store) -> None:
    counting = Counting()
    counting.go.clear()
    with jobs_on(store, count=counting) as jobs:
        reference = jobs.submit("count", {}, "count")
        assert counting.at.wait(_LONG)
        threading.Timer(0.3, counting.go.set).start()
    with jobs_on(store, count=counting) as jobs:
        assert jobs.get(reference).state is JobState.RUNNING
        assert jobs.adopt(reference)
        assert jobs.result(reference, timeout=_LONG) == "three"
    assert counting.ran == {"one": 1, "two": 1, "three": 1, "undo": 0}


def test_times_may_jump_back_while_a_job_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock is set back by a day between two steps; nothing depends on it."""
    real = time.time
    counting = Counting()
    counting.go.clear()
    with jobs_on(store, count=counting) as jobs:
        reference = jobs.submit("count", {}, "count")
        assert counting.at.wait(_LONG)
        monkeypatch.setattr("time.time", lambda: real() - 86400)
        counting.go.set()
        assert jobs.result(reference, timeout=_LONG) == "three"


def test_the_files_of_a_state_with_jobs_can_be_read_by_their_owner_only(store: Store) -> None:
    with jobs_on(store, count=Counting()) as jobs:
        jobs.run("count", {}, "count")
    for path in store.directory.iterdir():
        assert not path.is_file() or path.stat().st_mode & 0o077 == 0, path
    with store.read() as session:
        assert session.execute(text("SELECT count(*) FROM executors")).scalar() == 0
