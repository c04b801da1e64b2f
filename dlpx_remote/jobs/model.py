"""What is known of a job, for whoever asks. Values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from dlpx_remote.jobs.base import Job, Request

Workflow = Callable[[Job, Request], Any]
"""What a job runs: takes its job and its request, gives back plain JSON."""


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    """Waits for a worker, for what another job holds, or for a place below the limits."""
    RUNNING = "running"
    COMPENSATING = "compensating"
    """It failed or was cancelled, and undoes what it did."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It failed and undid nothing, or not all; the error says what."""
    COMPENSATED = "compensated"
    """It failed, and everything that it had to undo is undone."""
    CANCELLED = "cancelled"
    """It was asked to end, did, and everything that it had to undo is undone."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in ACTIVE and self is not JobState.QUEUED


ACTIVE = (JobState.RUNNING, JobState.COMPENSATING)


class StepState(StrEnum):
    """Where a step is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The engine died while it ran, and it must not be run again."""
    SKIPPED = "skipped"
    """The job was cancelled before it began."""


@dataclass(frozen=True)
class JobFailure:
    """Why a job did not succeed, in the three parts of every error."""

    message: str
    action: str = ""
    output: str = ""


@dataclass(frozen=True)
class JobStep:
    """One step.

    Attributes:
        number: from 1, in the order in which they began.
        title: what it does.
        once: it must not be run twice.
        undoing: it undoes what the job did before.
        state: where it is.
        error: why it failed.
        started: when it began; the last time, if it was begun again.
        finished: when it ended.
    """

    number: int
    title: str
    once: bool
    undoing: bool
    state: StepState
    error: str | None
    started: datetime
    finished: datetime | None


@dataclass(frozen=True)
class JobLine:
    """A line of output; ``number`` grows within a job, ``step`` is the step that it came from."""

    number: int
    step: int | None
    line: str
    at: datetime


@dataclass(frozen=True)
class JobSummary:
    """A job in a list.

    Attributes:
        reference: ``JOB-12``.
        operation: ``vdb provision``.
        object: what it works on, by name.
        title: a sentence for people.
        state: where it is.
        percent: how far it is, 0 to 100; None where nobody knows.
        cancelling: somebody asked for its end.
        created: when it was asked for.
        started: when it began.
        finished: when it ended.
    """

    reference: str
    operation: str
    object: str
    title: str
    state: JobState
    percent: int | None
    cancelling: bool
    created: datetime
    started: datetime | None
    finished: datetime | None


@dataclass(frozen=True)
class JobDetails(JobSummary):
    """A job with everything but its output.

    Attributes:
        request: what it was asked for.
        steps: in their order.
        failure: why it did not succeed.
        result: what it gave back.
        holds: the data sets and mount paths that it keeps for itself now, and what it shares with others.
        waits_for: what it needs and others hold, while it is queued: name and the other job.
        executor: the process that runs it: host name and process id.
        attempt: 1 in the first process that took it up; grows when it is given to another or taken up again.
        version: the version of dlpx-remote that took it up last.
    """

    request: Request
    steps: tuple[JobStep, ...]
    failure: JobFailure | None
    result: Any
    holds: tuple[str, ...]
    waits_for: tuple[tuple[str, str], ...]
    executor: str | None
    attempt: int
    version: str


@dataclass(frozen=True)
class Limits:
    """How many jobs run at the same time, over all processes on one database.

    Attributes:
        overall: in all.
        per_host: that use the same host.
    """

    overall: int = 16
    per_host: int = 4
