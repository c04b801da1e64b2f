"""Jobs that are cancelled too late: what they were asked for is done, or must not be left half done."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dlpx_remote.jobs.base import Job, Request
from dlpx_remote.jobs.model import JobDetails, JobState, StepState
from dlpx_remote.jobs.running import RunningJob
from dlpx_remote.store import Store
from dlpx_remote.transports.base import OutcomeUnknown
from tests.unit.jobs.conftest import jobs_on

_LONG = 30.0


class Waiting:
    """A step that waits until it is told to end, and then fails or not; as a hook does."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.end = threading.Event()

    def __call__(self, job: Job, request: Request) -> None:
        with job.on_cancel(self.end.set):
            self.reached.set()
            assert self.end.wait(_LONG)
        if request.get("fails"):
            raise OutcomeUnknown("The hook was ended.")


def switching(waiting: Waiting) -> Any:
    """A workflow that has done what it was asked for when it waits."""

    def workflow(job: Job, request: Request) -> str:
        job.step("switch", lambda: None)
        job.committed("one stands on SNAPSHOT-1")
        job.once("hook", lambda: waiting(job, request))
        job.step("clear up", lambda: None)
        return "done"

    return workflow


def removing(waiting: Waiting) -> Any:
    """A workflow that waits where it must not end, and has something to do afterwards."""

    def workflow(job: Job, request: Request) -> str:
        with job.whole():
            job.once("wait", lambda: waiting(job, request))
            job.step("remove", lambda: None)
        if not request.get("last"):
            job.step("next one", lambda: None)
        return "done"

    return workflow


def cancelled(
    store: Store, workflow: Any, waiting: Waiting, request: Request
) -> tuple[JobDetails, list[str]]:
    """A job that is cancelled while it waits, and what it says."""
    with jobs_on(store, work=workflow) as jobs:
        reference = jobs.submit("work", request, "work")
        assert waiting.reached.wait(_LONG)
        jobs.cancel(reference)
        job = jobs.follow(reference, timeout=_LONG)
        return job, [line.line for line in jobs.lines(reference)]


def test_a_job_that_has_done_what_it_was_asked_for_succeeds_and_says_that_it_was_too_late(
    store: Store,
) -> None:
    waiting = Waiting()
    job, said = cancelled(store, switching(waiting), waiting, {})
    assert (job.state, job.result) == (JobState.SUCCEEDED, "done")
    assert [step.state for step in job.steps] == [StepState.DONE] * 3
    assert said == ["It was too late to cancel JOB-1: one stands on SNAPSHOT-1."]


def test_it_says_so_too_where_nobody_has_looked_since(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked now and then whether a job is to end; this one ends before the next time."""
    monkeypatch.setattr(RunningJob, "look", lambda job: None)

    def workflow(job: Job, request: Request) -> str:
        job.committed("one stands on SNAPSHOT-1")
        job.step("clear up", lambda: jobs.cancel(job.reference) and None)
        return "done"

    with jobs_on(store, work=workflow) as jobs:
        job = jobs.follow(jobs.submit("work", {}, "work"), timeout=_LONG)
        said = [line.line for line in jobs.lines(job.reference)]
    assert job.state is JobState.SUCCEEDED
    assert said == ["It was too late to cancel JOB-1: one stands on SNAPSHOT-1."]


def test_a_hook_that_is_ended_after_that_fails_the_job_which_says_what_it_has_done(store: Store) -> None:
    waiting = Waiting()
    job, said = cancelled(store, switching(waiting), waiting, {"fails": True})
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.message == "The hook was ended."
    assert said == ["What failed came after what was asked for was done: one stands on SNAPSHOT-1."]


def test_a_hook_that_begins_after_the_job_was_cancelled_runs_and_a_second_cancelling_ends_it(
    store: Store,
) -> None:
    waiting, switched, go = Waiting(), threading.Event(), threading.Event()

    def switch() -> None:
        switched.set()
        assert go.wait(_LONG)

    def workflow(job: Job, request: Request) -> None:
        job.step("switch", switch)
        job.committed("it is done")
        job.once("hook", lambda: waiting(job, request))

    with jobs_on(store, work=workflow) as jobs:
        reference = jobs.submit("work", {}, "work")
        assert switched.wait(_LONG)
        jobs.cancel(reference)
        go.set()
        assert waiting.reached.wait(_LONG)
        assert not waiting.end.wait(0.6), "that somebody cancelled it before does not end it"
        assert jobs.cancel(reference).cancelling
        assert jobs.follow(reference, timeout=_LONG).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("request_", "state", "failure"),
    [
        ({}, JobState.CANCELLED, "was cancelled before the step 'next one'"),
        ({"last": True}, JobState.SUCCEEDED, None),
        ({"fails": True}, JobState.FAILED, "The hook was ended."),
    ],
)
def test_what_must_not_be_left_half_done_is_finished_before_the_job_ends(
    store: Store, request_: Request, state: JobState, failure: str | None
) -> None:
    waiting = Waiting()
    job, said = cancelled(store, removing(waiting), waiting, request_)
    assert job.state is state
    assert (failure is None) == (job.failure is None)
    if job.failure is not None and failure is not None:
        assert failure in job.failure.message
    done = [step.title for step in job.steps if step.state is StepState.DONE]
    assert done == ([] if request_.get("fails") else ["wait", "remove"])
    assert said == (["It was too late to cancel JOB-1: it is done."] if state is JobState.SUCCEEDED else [])
