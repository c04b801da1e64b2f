"""Jobs that ended long ago are forgotten, with what the journal has of them; all others stay."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from dlpx_remote.engine import Engine
from dlpx_remote.errors import NotFound
from dlpx_remote.jobs.base import Job, JobError, Request
from dlpx_remote.jobs.durable import JOURNAL
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.store import Store
from dlpx_remote.store.job_models import JobEventRow, JobRow, JobStepRow
from tests.unit.jobs.conftest import jobs_on

DAY = timedelta(days=1)


def _talk(job: Job, _request: Request) -> str:
    job.step("talk", lambda: job.log("said"))
    return "done"


def journaled(state: Path) -> dict[str, int]:
    """How many runs the journal has, and steps of them."""
    connection = sqlite3.connect(state / JOURNAL)
    try:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("workflow_status", "operation_outputs")
        }
    finally:
        connection.close()


def age(store: Store, days: dict[str, int]) -> None:
    """Have jobs ended so many days ago."""
    with store.write() as session:
        for reference, number in days.items():
            ended = datetime.now(UTC) - number * DAY
            session.execute(update(JobRow).where(JobRow.reference == reference).values(finished=ended))


def rows(store: Store) -> list[int]:
    """How many jobs, steps and lines there are."""
    with store.read() as session:
        tables: tuple[Any, ...] = (JobRow, JobStepRow, JobEventRow)
        return [session.scalars(select(func.count(table.id))).one() for table in tables]


def test_what_ended_long_ago_is_forgotten_and_what_has_not_ended_stays(store: Store, tmp_path: Path) -> None:
    reached, go = threading.Event(), threading.Event()

    def wait(job: Job, _request: Request) -> None:
        def action() -> None:
            reached.set()
            assert go.wait(30)

        job.step("wait", action)

    with jobs_on(store, talk=_talk, wait=wait) as jobs:
        for _ in range(3):
            jobs.run("talk", {}, "talk")
        running = jobs.submit("wait", {}, "wait")
        queued = jobs.submit("talk", {}, "talk", detach=True)
        assert reached.wait(30)
        age(store, {"JOB-1": 91, "JOB-2": 89, "JOB-3": 91, running: 400, queued: 400})
        assert jobs.prune(90 * DAY, dry_run=True) == 2
        assert rows(store) == [5, 4, 3]
        assert jobs.prune(90 * DAY) == 2
        assert [job.reference for job in jobs.all()] == ["JOB-2", running, queued]
        with pytest.raises(NotFound):
            jobs.get("JOB-1")
        assert rows(store) == [3, 2, 1]
        assert journaled(tmp_path / "state") == {"workflow_status": 2, "operation_outputs": 1}
        assert jobs.prune(90 * DAY) == 0
        go.set()
        assert jobs.follow(running, timeout=30).state == "succeeded"
        assert jobs.submit("talk", {}, "talk") == "JOB-6"  # no number is used twice


def test_a_process_that_runs_no_jobs_forgets_them_too(store: Store, tmp_path: Path) -> None:
    with jobs_on(store, talk=_talk) as jobs:
        for _ in range(2):
            jobs.run("talk", {}, "talk")
    age(store, {"JOB-1": 10, "JOB-2": 10})
    with Jobs(store, {}) as jobs:
        assert jobs.prune(9 * DAY) == 2
    assert journaled(tmp_path / "state") == {"workflow_status": 0, "operation_outputs": 0}


def test_jobs_are_kept_for_a_day_at_least(store: Store) -> None:
    jobs = Jobs(store, {})
    for ask in (jobs.prune, jobs.keep):
        with pytest.raises(JobError, match="for a day at least"):
            ask(timedelta(hours=23))


def test_where_the_journal_cannot_be_opened_the_jobs_are_still_there(store: Store, tmp_path: Path) -> None:
    with jobs_on(store, talk=_talk) as jobs:
        jobs.run("talk", {}, "talk")
    age(store, {"JOB-1": 10})
    journal = tmp_path / "state" / JOURNAL
    for left in journal.parent.glob(f"{JOURNAL}-*"):
        left.unlink()
    journal.unlink()
    journal.mkdir()
    with pytest.raises(JobError, match="journal of jobs cannot be written"):
        Jobs(store, {}).prune(DAY)
    assert rows(store)[0] == 1


def test_a_worker_forgets_them_once_a_day_where_it_is_told_to(tmp_path: Path) -> None:
    now, said = datetime.now(UTC), list[str]()
    with Engine(tmp_path / "state") as engine:
        engine._workflows["talk"] = _talk
        engine.jobs.run("talk", {}, "talk")

        def tick(days: float) -> None:
            with ThreadPoolExecutor() as pool:
                engine.schedules.tick(now + days * DAY, pool, said.append)

        age(engine._store, {"JOB-1": 10})
        tick(0)
        assert engine.jobs.kept is None
        assert len(engine.jobs.all()) == 1
        engine.jobs.keep(9 * DAY)
        tick(0)
        assert engine.jobs.all() == []
        assert said == ["Forgot 1 jobs that ended more than 9 days ago."]
        engine.jobs.run("talk", {}, "talk")
        age(engine._store, {"JOB-2": 10})
        tick(0.5)
        assert len(engine.jobs.all()) == 1
        tick(1.1)
        assert engine.jobs.all() == []
        engine.jobs.keep(None)
        assert engine.jobs.kept is None
