"""Jobs that run here: steps, results, failures, cancelling, what they hold, what is kept of them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dlpx_remote.errors import NotFound
from dlpx_remote.jobs.base import Busy, Job, JobCancelled, JobError, JobFailed, Request, StepDefect
from dlpx_remote.jobs.jobs import Jobs
from dlpx_remote.jobs.model import JobDetails, JobState, Limits, StepState
from dlpx_remote.jobs.records import LINE_LIMIT, OUTPUT_LIMIT
from dlpx_remote.redaction import MASK, REDACTOR
from dlpx_remote.store import Store
from dlpx_remote.transports.base import OutcomeUnknown
from tests.unit.jobs.conftest import jobs_on

_LONG = 30.0


def _two_steps(job: Job, request: Request) -> Any:
    job.expect(2)
    job.step("count", lambda: job.log("counting"))
    return job.once("answer", lambda: {"n": request["n"] + 1})


def _undoes(job: Job, request: Request) -> Any:
    job.step("make", lambda: None)
    try:
        job.step(
            request.get("fails", "use"), lambda: _raise(OutcomeUnknown("Nobody knows.", "Look.", "said"))
        )
    except Exception as reason:
        job.compensating(reason)
        job.step("unmake", lambda: None if request.get("undo", True) else _raise(OSError("no")))
        raise


def _raise(error: Exception) -> None:
    raise error


class Gate:
    """A workflow whose middle step waits until the test lets it go, or the job is cancelled."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, job: Job, request: Request) -> Any:
        def wait() -> None:
            with job.on_cancel(self.open.set):
                self.reached.set()
                assert self.open.wait(_LONG)

        try:
            job.step("wait", wait)
            return job.step("after", lambda: "through")
        except JobError as reason:
            job.compensating(reason)
            job.step("put back", lambda: None)
            raise


def test_a_job_runs_its_steps_in_order_and_gives_back_what_the_workflow_gave(store: Store) -> None:
    with jobs_on(store, add=_two_steps) as jobs:
        reference = jobs.submit("add", {"n": 1}, "add one", object="n")
        assert jobs.result(reference) == {"n": 2}
        job = jobs.get(reference)
    assert job.reference == "JOB-1"
    assert (job.operation, job.object, job.title, job.request) == ("add", "n", "add one", {"n": 1})
    assert (job.state, job.percent, job.failure) == (JobState.SUCCEEDED, 100, None)
    assert [(step.number, step.title, step.once, step.state) for step in job.steps] == [
        (1, "count", False, StepState.DONE),
        (2, "answer", True, StepState.DONE),
    ]
    assert job.started is not None
    assert job.finished is not None
    assert job.created <= job.started <= job.steps[0].started <= job.finished


def test_what_it_says_is_kept_with_the_step_that_said_it(store: Store) -> None:
    with jobs_on(store, add=_two_steps) as jobs:
        reference = jobs.submit("add", {"n": 1}, "add one")
        jobs.result(reference)
        assert [(line.step, line.line) for line in jobs.lines(reference)] == [(1, "counting")]


def test_whoever_follows_is_told_of_every_line_once(store: Store) -> None:
    def talk(job: Job, _request: Request) -> None:
        for number in range(3000):
            job.log(f"line {number}")

    told: list[str] = []
    states: list[JobState] = []

    def on_change(job: JobDetails, lines: Any) -> None:
        told.extend(line.line for line in lines)
        states.append(job.state)

    with jobs_on(store, talk=talk) as jobs:
        jobs.follow(jobs.submit("talk", {}, "talk"), on_change)
    assert told == [f"line {number}" for number in range(3000)]
    assert states[-1] is JobState.SUCCEEDED


def test_a_job_that_fails_says_why_in_three_parts_and_that_it_undid_everything(store: Store) -> None:
    with jobs_on(store, fail=_undoes) as jobs:
        job = jobs.follow(jobs.submit("fail", {}, "fail"))
        assert job.state is JobState.COMPENSATED
        assert job.failure is not None
        assert (job.failure.message, job.failure.action, job.failure.output) == (
            "Nobody knows.",
            "Look.",
            "said",
        )
        assert [(step.title, step.undoing, step.state) for step in job.steps] == [
            ("make", False, StepState.DONE),
            ("use", False, StepState.FAILED),
            ("unmake", True, StepState.DONE),
        ]
        with pytest.raises(JobFailed, match=r"Nobody knows\. Look\.") as caught:
            jobs.result(job.reference)
        assert (caught.value.reference, caught.value.state) == ("JOB-1", JobState.COMPENSATED)


def test_a_job_that_could_not_undo_everything_has_failed(store: Store) -> None:
    with jobs_on(store, fail=_undoes) as jobs:
        job = jobs.follow(jobs.submit("fail", {"undo": False}, "fail"))
    assert job.state is JobState.FAILED
    assert job.steps[-1].state is StepState.FAILED


def test_a_defect_in_a_step_is_called_one(store: Store) -> None:
    with jobs_on(store, broken=lambda job, _request: job.step("divide", lambda: 1 // 0)) as jobs:
        job = jobs.follow(jobs.submit("broken", {}, "break"))
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert "'divide' ended with an unexpected ZeroDivisionError" in job.failure.message
    assert "defect of dlpx-remote" in job.failure.action


def test_a_step_must_give_back_plain_json(store: Store) -> None:
    with jobs_on(store, broken=lambda job, _request: job.step("give", lambda: {1, 2})) as jobs:
        job = jobs.follow(jobs.submit("broken", {}, "break"))
        assert job.failure is not None
        assert "not plain JSON" in job.failure.message
        with pytest.raises(StepDefect, match="not plain JSON"):
            jobs.submit("broken", {"what": object()}, "break")


def test_an_operation_that_this_version_does_not_have_fails_without_doing_anything(store: Store) -> None:
    with jobs_on(store) as jobs:
        job = jobs.follow(jobs.submit("vdb melt", {}, "melt"))
    assert job.state is JobState.FAILED
    assert job.steps == ()
    assert job.failure is not None
    assert "'vdb melt' that dlpx-remote" in job.failure.message
    assert "another version" in job.failure.action


def test_cancelling_tells_the_running_step_and_the_job_undoes_what_it_did(store: Store) -> None:
    gate = Gate()
    with jobs_on(store, gate=gate) as jobs:
        reference = jobs.submit("gate", {}, "wait")
        assert gate.reached.wait(_LONG)
        assert jobs.cancel(reference).cancelling
        job = jobs.follow(reference, timeout=_LONG)
    assert job.state is JobState.CANCELLED
    assert [(step.title, step.state) for step in job.steps] == [
        ("wait", StepState.DONE),
        ("after", StepState.SKIPPED),
        ("put back", StepState.DONE),
    ]
    assert job.failure is not None
    assert "was cancelled before the step 'after'" in job.failure.message


def test_cancelling_a_job_that_has_ended_is_refused(store: Store) -> None:
    with jobs_on(store, add=_two_steps) as jobs:
        reference = jobs.submit("add", {"n": 1}, "add one")
        jobs.result(reference)
        with pytest.raises(JobError, match="has ended already"):
            jobs.cancel(reference)


def test_a_job_that_waits_can_be_cancelled_and_never_begins(store: Store) -> None:
    with jobs_on(store, add=_two_steps) as jobs:
        reference = jobs.submit("add", {"n": 1}, "add one", detach=True)
        assert jobs.get(reference).state is JobState.QUEUED
        job = jobs.cancel(reference)
    assert job.state is JobState.CANCELLED
    assert job.steps == ()


def test_a_second_job_waits_for_what_the_first_one_holds(store: Store) -> None:
    gate = Gate()
    with jobs_on(store, gate=gate, add=_two_steps) as jobs:
        first = jobs.submit("gate", {}, "wait", locks=["data set DS-1", "mount h:/m"])
        assert gate.reached.wait(_LONG)
        second = jobs.submit("add", {"n": 1}, "add one", locks=["data set DS-1"])
        other = jobs.submit("add", {"n": 2}, "add one", locks=["data set DS-2"])
        assert jobs.result(other, timeout=_LONG) == {"n": 3}
        waiting = jobs.get(second)
        assert waiting.state is JobState.QUEUED
        assert waiting.waits_for == (("data set DS-1", first),)
        assert jobs.get(first).holds == ("data set DS-1", "mount h:/m")
        with pytest.raises(Busy, match=rf"{first} \(wait\) holds mount h:/m, which look needs"):
            jobs.submit("add", {"n": 1}, "look", locks=["mount h:/m"], wait=False)
        gate.open.set()
        assert jobs.result(second, timeout=_LONG) == {"n": 2}
        assert jobs.get(first).holds == ()


def test_a_running_job_holds_what_it_gets_to_know_or_is_refused_it(store: Store) -> None:
    gate = Gate()

    def hold(job: Job, request: Request) -> None:
        job.step("hold", lambda: job.hold(*request["locks"]))
        job.step("hold again", lambda: job.hold(*request["locks"]))
        gate(job, request)

    def try_to_hold(job: Job, request: Request) -> None:
        job.step("hold", lambda: job.hold("mount h:/n", "mount h:/m"))

    with jobs_on(store, hold=hold, more=try_to_hold, add=_two_steps) as jobs:
        first = jobs.submit("hold", {"locks": ["mount h:/m"]}, "mount it", locks=["data set DS-1"])
        assert gate.reached.wait(_LONG)
        assert jobs.get(first).holds == ("data set DS-1", "mount h:/m")
        with pytest.raises(JobFailed, match=rf"{first} \(mount it\) holds mount h:/m, which JOB-2 needs"):
            jobs.result(jobs.submit("more", {}, "more"), timeout=_LONG)
        waiting = jobs.submit("add", {"n": 1}, "add one", locks=["mount h:/m"])
        assert jobs.follow(waiting, timeout=0.5).state is JobState.QUEUED
        gate.open.set()
        assert jobs.result(waiting, timeout=_LONG) == {"n": 2}
        jobs.result(jobs.submit("more", {}, "more"), timeout=_LONG)


def test_jobs_share_what_both_need_and_who_needs_it_alone_waits_for_all_of_them(store: Store) -> None:
    gates = [Gate(), Gate()]
    with jobs_on(store, one=gates[0], two=gates[1], add=_two_steps) as jobs:
        first, second = (
            jobs.submit(name, {}, f"read {name}", shares=["SNAPSHOT-1", "snapshots of DS-1"])
            for name in ("one", "two")
        )
        assert all(gate.reached.wait(_LONG) for gate in gates)
        assert jobs.get(first).holds == ("SNAPSHOT-1 (shared)", "snapshots of DS-1 (shared)")
        with pytest.raises(Busy, match=rf"{first} \(read one\) holds SNAPSHOT-1, which drop it needs"):
            jobs.submit("add", {"n": 1}, "drop it", locks=["SNAPSHOT-1"], wait=False)
        alone = jobs.submit("add", {"n": 1}, "drop it", locks=["SNAPSHOT-1"])
        third = jobs.submit("add", {"n": 2}, "read it", shares=["SNAPSHOT-1"])
        other = jobs.submit("add", {"n": 3}, "read another", shares=["SNAPSHOT-2", "snapshots of DS-1"])
        assert jobs.result(other, timeout=_LONG) == {"n": 4}
        assert jobs.get(alone).waits_for == (("SNAPSHOT-1", first), ("SNAPSHOT-1", second))
        gates[0].open.set()
        jobs.result(first, timeout=_LONG)
        states = [jobs.follow(job, timeout=0.5).state for job in (alone, third)]
        assert states == [JobState.QUEUED, JobState.QUEUED], "later ones do not overtake who waits"
        gates[1].open.set()
        assert [jobs.result(job, timeout=_LONG) for job in (alone, third)] == [{"n": 2}, {"n": 3}]
        assert jobs.get(second).holds == jobs.get(third).holds == ()


def test_what_is_to_be_shared_waits_for_who_has_it_alone(store: Store) -> None:
    gate = Gate()

    with jobs_on(store, gate=gate, add=_two_steps) as jobs:
        first = jobs.submit("gate", {}, "drop it", locks=["SNAPSHOT-1"])
        assert gate.reached.wait(_LONG)
        waiting = jobs.submit("add", {"n": 1}, "read it", shares=["SNAPSHOT-1"])
        assert jobs.follow(waiting, timeout=0.5).waits_for == (("SNAPSHOT-1", first),)
        with pytest.raises(Busy, match=rf"{first} \(drop it\) holds SNAPSHOT-1"):
            jobs.submit("add", {"n": 1}, "read it", shares=["SNAPSHOT-1"], wait=False)
        jobs.cancel(waiting)
        gate.open.set()
        jobs.result(first, timeout=_LONG)
        assert jobs.result(jobs.submit("add", {"n": 1}, "drop it", locks=["SNAPSHOT-1"]), timeout=_LONG)


def test_what_is_shared_is_refused_to_a_running_job_that_needs_it_alone(store: Store) -> None:
    gate = Gate()

    def hold(job: Job, _request: Request) -> None:
        job.step("hold", lambda: job.hold("SNAPSHOT-1"))

    with jobs_on(store, gate=gate, hold=hold) as jobs:
        reader = jobs.submit("gate", {}, "read it", shares=["SNAPSHOT-1"])
        assert gate.reached.wait(_LONG)
        with pytest.raises(JobFailed, match=rf"{reader} \(read it\) holds SNAPSHOT-1, which JOB-2 needs"):
            jobs.result(jobs.submit("hold", {}, "drop it"), timeout=_LONG)
        gate.open.set()
        jobs.result(reader, timeout=_LONG)
        jobs.result(jobs.submit("hold", {}, "drop it"), timeout=_LONG)


@pytest.mark.parametrize("limits", [Limits(overall=1), Limits(per_host=1)])
def test_no_more_jobs_run_at_once_than_the_limits_allow(store: Store, limits: Limits) -> None:
    gate = Gate()
    with jobs_on(store, limits, gate=gate, add=_two_steps) as jobs:
        jobs.submit("gate", {}, "wait", hosts=["h"])
        assert gate.reached.wait(_LONG)
        second = jobs.submit("add", {"n": 1}, "add one", hosts=["h"])
        assert jobs.follow(second, timeout=1.0).state is JobState.QUEUED
        gate.open.set()
        assert jobs.result(second, timeout=_LONG) == {"n": 2}


def test_output_is_redacted_and_capped(store: Store) -> None:
    REDACTOR.register("hunter2hunter2")

    def talk(job: Job, _request: Request) -> None:
        job.log("the password is hunter2hunter2")
        job.log("x" * (LINE_LIMIT + 1))
        job.step("talk", lambda: job.log("\n".join(["y" * 1000] * (2 * OUTPUT_LIMIT // 1000))))

    with jobs_on(store, talk=talk) as jobs:
        reference = jobs.submit("talk", {}, "talk")
        jobs.follow(reference)
        lines = [line.line for line in jobs.lines(reference, limit=10_000)]
    assert lines[0] == f"the password is {MASK}"
    assert len(lines[1]) == LINE_LIMIT
    assert OUTPUT_LIMIT / 2 < sum(map(len, lines)) <= OUTPUT_LIMIT + 200
    assert "no more than" in lines[-1]


def test_jobs_are_listed_and_found(store: Store) -> None:
    with jobs_on(store, add=_two_steps) as jobs:
        for number in range(3):
            jobs.run("add", {"n": number}, "add one")
        waiting = jobs.submit("add", {"n": 9}, "add one", detach=True)
        assert [job.reference for job in jobs.all()] == ["JOB-1", "JOB-2", "JOB-3", "JOB-4"]
        assert [job.reference for job in jobs.all(newest=2)] == ["JOB-3", "JOB-4"]
        assert [job.reference for job in jobs.all([JobState.QUEUED])] == [waiting]
        assert jobs.get("2").reference == jobs.get("job-2").reference == "JOB-2"
        with pytest.raises(NotFound, match="no job 'JOB-9'"):
            jobs.get("JOB-9")


def test_one_process_runs_jobs_of_one_engine_at_a_time(store: Store) -> None:
    with jobs_on(store, add=_two_steps) as first, jobs_on(store, add=_two_steps) as second:
        first.run("add", {"n": 1}, "add one")
        with pytest.raises(JobError, match="runs jobs already"):
            second.run("add", {"n": 1}, "add one")


def test_a_worker_takes_what_was_left_to_workers_and_ends_when_idle(store: Store) -> None:
    with jobs_on(store, add=_two_steps) as jobs:
        references = [jobs.submit("add", {"n": number}, "add one", detach=True) for number in range(5)]
        assert not jobs.has_worker()
        jobs.work(2, threading.Event(), idle=0.5)
        assert [jobs.get(reference).result for reference in references] == [{"n": n + 1} for n in range(5)]


def test_a_cancelled_step_is_not_an_error_of_the_step(store: Store) -> None:
    seen: list[BaseException] = []

    def watch(job: Job, _request: Request) -> None:
        jobs.cancel(job.reference)
        try:
            job.step("never", lambda: None)
        except BaseException as error:
            seen.append(error)
            raise

    jobs = Jobs(store, {"watch": watch})
    with jobs:
        assert jobs.follow(jobs.submit("watch", {}, "watch"), timeout=_LONG).state is JobState.CANCELLED
    assert isinstance(seen[0], JobCancelled)
