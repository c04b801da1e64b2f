"""Jobs that run in the thread that asks for them, and what becomes of them when their process dies."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.jobs.base import Job, JobCancelled, Request
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import JobState, Limits
from dlpx_remote.store import Store
from tests.unit.jobs.conftest import jobs_on


def double(job: Job, request: Request) -> Any:
    job.log("doubling")
    return {"value": job.step("double it", lambda: 2 * int(request["value"]))}


def test_it_is_a_job_like_any_other_and_loads_no_durable_engine(store: Store) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom dlpx_remote.jobs.jobs import Jobs\n"
        "from dlpx_remote.store import Store\nfrom tests.unit.jobs.test_here import double\n"
        "with Jobs(Store(Path(sys.argv[1])), {}) as jobs:\n"
        "    print(jobs.run_here('double', {'value': 4}, 'double 4', double, object='four'))\n"
        "assert 'dbos' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(store.directory)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("{'value': 8}\n", 0), done.stderr
    with jobs_on(store) as jobs:
        (listed,) = jobs.all()
        assert (listed.operation, listed.object, listed.state) == ("double", "four", JobState.SUCCEEDED)
        job = jobs.get(listed.reference)
        assert job.result == {"value": 8}
        assert [(step.title, step.error) for step in job.steps] == [("double it", None)]
        assert [line.line for line in jobs.lines(job.reference)] == ["doubling"]
        assert jobs._queue.executors() == []


def test_it_raises_what_its_workflow_does(store: Store) -> None:
    def bad(job: Job, request: Request) -> Any:
        def fail() -> None:
            raise InvalidRequest("It cannot be.", "Mend it.")

        job.step("fail", fail)

    with jobs_on(store) as jobs:
        with pytest.raises(InvalidRequest, match="It cannot be"):
            jobs.run_here("bad", {}, "do what cannot be", bad)
        (job,) = jobs.all()
        assert job.state is JobState.FAILED
        failure = jobs.get(job.reference).failure
        assert failure is not None
        assert failure.action == "Mend it."


def test_another_process_cancels_it(store: Store) -> None:
    began = threading.Event()

    def wait(job: Job, request: Request) -> Any:
        ended = threading.Event()

        def act() -> None:
            with job.on_cancel(ended.set):
                began.set()
                assert ended.wait(60)
            raise JobCancelled("told to end")

        job.step("wait", act)

    def cancel() -> None:
        assert began.wait(60)
        with Jobs(store, {}) as others:
            others.cancel("JOB-1")

    with jobs_on(store) as jobs:
        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(JobCancelled):
            jobs.run_here("wait", {}, "wait", wait)
        canceller.join()
        assert jobs.get("JOB-1").state is JobState.CANCELLED


def test_an_interrupt_cancels_it(store: Store) -> None:
    def interrupted(job: Job, request: Request) -> Any:
        raise KeyboardInterrupt

    with jobs_on(store) as jobs:
        with pytest.raises(KeyboardInterrupt):
            jobs.run_here("wait", {}, "wait", interrupted)
        assert jobs.get("JOB-1").state is JobState.CANCELLED


def test_it_waits_for_a_place_below_the_limits_and_can_be_cancelled_there(store: Store) -> None:
    both = threading.Barrier(2)
    goes_on = threading.Event()
    raised: list[Exception] = []

    def hold(job: Job, request: Request) -> Any:
        both.wait(60)
        assert goes_on.wait(60)

    def second() -> None:
        try:
            jobs.run_here("double", {"value": 1}, "double 1", double)
        except Exception as error:
            raised.append(error)

    with jobs_on(store, Limits(overall=1)) as jobs:
        first = threading.Thread(target=jobs.run_here, args=("hold", {}, "hold", hold))
        first.start()
        both.wait(60)
        later = threading.Thread(target=second)
        later.start()
        while not jobs.all((JobState.QUEUED,)):
            time.sleep(0.01)
        jobs.cancel("JOB-2")
        later.join(60)
        goes_on.set()
        first.join(60)
        assert isinstance(raised[0], JobCancelled)
        assert [job.state for job in jobs.all()] == [JobState.SUCCEEDED, JobState.CANCELLED]


def test_one_that_waits_for_a_job_of_a_dead_process_takes_it_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom dlpx_remote.jobs.jobs import Jobs\n"
        "from dlpx_remote.store import Store\n"
        "def die(job, request):\n"
        "    job.step('double it', lambda: os.kill(os.getpid(), 9))\n"
        "Jobs(Store(Path(sys.argv[1])), {}).run_here('double', {'value': 21}, 'double 21', die)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(store.directory)], check=False)
    assert done.returncode == -9
    warned: list[str] = []
    monkeypatch.setattr("dlpx_remote.jobs.here._BEAT", 0.1)
    with Jobs(store, {"double": double}, limits=Limits(overall=1), warn=warned.append) as jobs:
        assert jobs.get("JOB-1").state is JobState.RUNNING
        assert jobs.run_here("double", {"value": 4}, "double 4", double) == {"value": 8}
        assert warned[0].startswith("JOB-2 waits")
        assert jobs.result("JOB-1") == {"value": 42}
        assert jobs.get("JOB-1").attempt > 1
