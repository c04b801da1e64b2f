"""Jobs on a real PostgreSQL: the same behaviour, and workers that finish each other's work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from dlpx_remote.jobs import liveness
from dlpx_remote.jobs.base import Busy, Job, JobFailed, Request
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import JobState
from dlpx_remote.store import StateError, Store
from dlpx_remote.store.models import Base
from tests.secret_scan import secret
from tests.unit.jobs.victim import FORWARD, effect, life, world

_LONG = 60.0
_RECOVERY = 30.0  # seconds that another worker has


def waits_in_its_third_step(job: Job, request: Request) -> Any:
    """``life``, but it stays in the step before the plugin's until a file appears."""
    job.step("who", lambda: effect(request, f"worker {os.getpid()}"))
    step = job.once if request["once"] else job.step

    def wait() -> None:
        effect(request, "waiting")
        while not Path(request["go"]).exists():
            time.sleep(0.02)

    try:
        step("wait", wait)
    except Exception as reason:
        job.compensating(reason)
        job.step("undo", lambda: effect(request, "undone"))
        raise
    return life(job, request)


WORKFLOWS = {"life": life, "waits": waits_in_its_third_step}


def work(state: str, url: str, elsewhere: str) -> None:
    """A worker process; ``elsewhere`` makes it look like one of another machine."""
    if elsewhere:
        liveness._boot = lambda: elsewhere
        liveness.SILENCE = 4.0
    store = Store(Path(state), url)
    with Jobs(store, WORKFLOWS) as jobs:
        jobs.work(2, threading.Event())


@pytest.fixture
def store(tmp_path: Path, postgresql_url: str) -> Iterator[Store]:
    opened = Store(tmp_path / "state", postgresql_url)
    yield opened
    opened.close()


def test_the_migrations_make_the_tables_of_the_models(store: Store, postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    assert store.place.startswith("postgresql+psycopg://postgres@127.0.0.1")


def test_opening_it_again_and_by_the_short_name_of_the_url_finds_the_same(
    store: Store, postgresql_url: str, tmp_path: Path
) -> None:
    with Jobs(store, WORKFLOWS) as jobs:
        jobs.submit("life", {}, "live", detach=True)
    again = Store(tmp_path / "other", postgresql_url.replace("+psycopg", ""))
    assert [job.reference for job in Jobs(again, {}).all()] == ["JOB-1"]
    again.close()


def test_jobs_run_hold_and_wait_as_they_do_on_sqlite(store: Store, tmp_path: Path) -> None:
    request: Request = {
        "world": str(tmp_path / "world"),
        "name": "one",
        "go": str(tmp_path / "go"),
        "once": False,
    }

    def hold(job: Job, _request: Request) -> None:
        job.step("hold", lambda: job.hold("mount h:/m", "data set DS-1"))

    with Jobs(store, {**WORKFLOWS, "hold": hold}) as jobs:
        first = jobs.submit("waits", request, "wait", locks=["data set DS-1"])
        _until(lambda: "waiting" in world(request))
        with pytest.raises(Busy, match="JOB-1"):
            jobs.submit("life", request, "live", locks=["data set DS-1"], wait=False)
        with pytest.raises(JobFailed, match=r"JOB-1 .* holds data set DS-1"):
            jobs.result(jobs.submit("hold", {}, "hold"), timeout=_LONG)
        failing: Request = {**request, "fails": True}
        second = jobs.submit("life", failing, "live", locks=["data set DS-1"])
        assert jobs.get(second).waits_for == (("data set DS-1", first),)
        Path(request["go"]).touch()
        assert jobs.result(first, timeout=_LONG) == {"steps": len(FORWARD)}
        assert jobs.follow(second, timeout=_LONG).state is JobState.COMPENSATED


@pytest.mark.parametrize(
    ("elsewhere", "once"),
    [(False, True), (True, False)],
    ids=["same machine, compensates", "other machines, finishes"],
)
def test_of_three_workers_one_is_killed_in_the_middle_and_another_ends_its_job(
    store: Store, postgresql_url: str, tmp_path: Path, *, elsewhere: bool, once: bool
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.jobs.test_postgresql", "dbos"])
    workers = [
        context.Process(
            target=work, args=(str(tmp_path / f"w{n}"), postgresql_url, f"machine {n}" if elsewhere else "")
        )
        for n in range(3)
    ]
    requests: list[Request] = [
        {
            "world": str(tmp_path / f"world{n}"),
            "name": str(n),
            "go": str(tmp_path / ("go" if n == 0 else "at once")),
            "once": once and n == 0,
        }
        for n in range(4)
    ]
    (tmp_path / "at once").touch()
    try:
        for worker in workers:
            worker.start()
        with Jobs(store, WORKFLOWS) as jobs:
            references = [
                jobs.submit("waits", request, "live", locks=[f"data set {n}"], detach=True)
                for n, request in enumerate(requests)
            ]
            _until(lambda: "waiting" in world(requests[0]))
            # First: the worker that is killed may have begun one of these, too.
            others = [jobs.follow(reference, timeout=_LONG) for reference in references[1:]]
            assert [other.state for other in others] == [JobState.SUCCEEDED] * 3
            victim = int(world(requests[0])[0].removeprefix("worker "))
            os.kill(victim, signal.SIGKILL)
            (tmp_path / "go").touch()
            job = jobs.follow(references[0], timeout=_RECOVERY)
        assert job.attempt > 1
        assert job.holds == ()
        happened = world(requests[0])
        if once:
            assert job.state is JobState.COMPENSATED
            assert happened[1:] == ["waiting", "undone"]
        else:
            assert job.state is JobState.SUCCEEDED
            assert happened[1:] == ["waiting", "waiting", *(f"do {title}" for title in FORWARD)]
    finally:
        for worker in workers:
            worker.terminate()
            worker.join(10)


def test_a_worker_that_was_held_up_and_taken_for_dead_does_nothing_more(
    store: Store, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of a step, continued when another worker has long finished the job."""
    monkeypatch.setattr(liveness, "SILENCE", 3.0)
    context = multiprocessing.get_context("forkserver")
    worker = context.Process(target=work, args=(str(tmp_path / "w"), postgresql_url, "another machine"))
    worker.start()
    request: Request = {
        "world": str(tmp_path / "world"),
        "name": "a",
        "go": str(tmp_path / "go"),
        "once": False,
    }
    try:
        with Jobs(store, WORKFLOWS) as jobs:
            reference = jobs.submit("waits", request, "live", detach=True)
            _until(lambda: "waiting" in world(request))
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGSTOP)
            Path(request["go"]).touch()
            jobs.open_for_work()
            job = jobs.follow(reference, timeout=_RECOVERY)
            assert job.state is JobState.SUCCEEDED
            happened = world(request)
            os.kill(worker.pid, signal.SIGCONT)
            later = jobs.submit("life", {**request, "world": str(tmp_path / "other")}, "live", detach=True)
            assert jobs.result(later, timeout=_LONG) == {"steps": len(FORWARD)}  # by that same worker
            assert world(request) == happened
            assert [step.title for step in job.steps] == [step.title for step in jobs.get(reference).steps]
    finally:
        worker.kill()
        worker.join(10)


def test_the_password_in_a_url_is_never_shown(tmp_path: Path) -> None:
    password = secret("database password")
    with pytest.raises(StateError) as caught:
        Store(tmp_path / "state", f"postgresql://dlpx:{password}@127.0.0.1:1/dlpx")
    assert "127.0.0.1:1" in str(caught.value)
    assert password not in str(caught.value)


def _until(reached: Any) -> None:
    limit = time.monotonic() + _LONG
    while not reached():
        assert time.monotonic() < limit
        time.sleep(0.05)
