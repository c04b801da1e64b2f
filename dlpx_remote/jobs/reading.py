"""What the rows say of jobs, as values. Reads only."""

from __future__ import annotations

import json
from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from dlpx_remote.errors import NotFound
from dlpx_remote.jobs import holding
from dlpx_remote.jobs.model import (
    ACTIVE,
    JobDetails,
    JobFailure,
    JobLine,
    JobState,
    JobStep,
    JobSummary,
    StepState,
)
from dlpx_remote.store import Store
from dlpx_remote.store.job_models import ExecutorRow, JobEventRow, JobRow, JobStepRow


def find(session: Session, reference: str) -> JobRow:
    """The row of a job.

    Raises:
        NotFound: there is none.
    """
    wanted = reference.strip().upper()
    if wanted.isdigit():
        wanted = f"JOB-{wanted}"
    row = session.scalars(select(JobRow).where(JobRow.reference == wanted)).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {reference!r}.", "dlpx-remote job list shows which there are.")
    return row


def summaries(store: Store, states: Collection[JobState], newest: int) -> list[JobSummary]:
    """The newest jobs, oldest of them first.

    Args:
        store: the state.
        states: which; all when empty.
        newest: how many.
    """
    with store.read() as session:
        query = select(JobRow).order_by(JobRow.id.desc()).limit(newest)
        if states:
            query = query.where(JobRow.state.in_(list(states)))
        rows = list(session.scalars(query))[::-1]
        done = _steps_done(session, [row.id for row in rows])
        return [_summary(row, done.get(row.id, 0)) for row in rows]


def details(store: Store, reference: str) -> JobDetails:
    """Everything but the output.

    Raises:
        NotFound: there is no such job.
    """
    with store.read() as session:
        row = find(session, reference)
        steps = tuple(
            JobStep(
                number=step.number,
                title=step.title,
                once=step.once,
                undoing=step.undoing,
                state=StepState(step.state),
                error=step.error_message,
                started=step.started,
                finished=step.finished,
            )
            for step in session.scalars(
                select(JobStepRow).where(JobStepRow.job_id == row.id).order_by(JobStepRow.number)
            )
        )
        executor = session.get(ExecutorRow, row.executor) if row.executor else None
        summary = _summary(row, _steps_done(session, [row.id]).get(row.id, 0))
        return JobDetails(
            **vars(summary),
            request=dict(row.request),
            steps=steps,
            failure=None
            if row.error_message is None
            else JobFailure(row.error_message, row.error_action or "", row.error_output or ""),
            result=None if row.result is None else json.loads(row.result),
            holds=_holds(session, row),
            waits_for=_waits_for(session, row),
            executor=None if executor is None else f"process {executor.process} on {executor.host_name}",
            attempt=row.attempt,
            version=row.version,
        )


def lines(store: Store, reference: str, after: int, limit: int) -> list[JobLine]:
    """Output, in the order in which it came.

    Args:
        store: the state.
        reference: of the job.
        after: the number of the last line known already.
        limit: how many at the most.
    """
    with store.read() as session:
        row = find(session, reference)
        query = (
            select(JobEventRow)
            .where(JobEventRow.job_id == row.id, JobEventRow.id > after)
            .order_by(JobEventRow.id)
            .limit(limit)
        )
        return [JobLine(line.id, line.step, line.line, line.at) for line in session.scalars(query)]


def mark(store: Store, reference: str) -> tuple[object, ...]:
    """Something that changes whenever the job does; cheap to ask for."""
    with store.read() as session:
        row = session.execute(
            select(
                JobRow.id, JobRow.state, JobRow.cancel_requested, JobRow.output_bytes, JobRow.attempt
            ).where(JobRow.reference == reference)
        ).one()
        steps = session.execute(
            select(
                func.count(JobStepRow.id), func.count(JobStepRow.finished), func.max(JobStepRow.started)
            ).where(JobStepRow.job_id == row.id)
        ).one()
        return (*row, *steps)


def _summary(row: JobRow, done: int) -> JobSummary:
    state = JobState(row.state)
    return JobSummary(
        reference=row.reference,
        operation=row.operation,
        object=row.object,
        title=row.title,
        state=state,
        percent=_percent(state, done, row.expected_steps),
        cancelling=row.cancel_requested is not None and not state.ended,
        created=row.created,
        started=row.started,
        finished=row.finished,
    )


def _percent(state: JobState, done: int, expected: int | None) -> int | None:
    if state is JobState.SUCCEEDED:
        return 100
    if not expected or state not in (*ACTIVE, JobState.QUEUED):
        return None
    return min(99, 100 * done // expected)


def _steps_done(session: Session, jobs: list[int]) -> dict[int, int]:
    done: ColumnElement[bool] = and_(
        JobStepRow.job_id.in_(jobs), JobStepRow.state == StepState.DONE, JobStepRow.undoing.is_(False)
    )
    counted = select(JobStepRow.job_id, func.count().label("done")).where(done).group_by(JobStepRow.job_id)
    return {row.job_id: row.done for row in session.execute(counted)}


def _waits_for(session: Session, row: JobRow) -> tuple[tuple[str, str], ...]:
    if row.state != JobState.QUEUED:
        return ()
    _, wanted = holding.held_by(session, row.id)
    found = holding.holders(session, row.locks, wanted)
    return tuple((name, session.get_one(JobRow, job).reference) for name, job in found)


def _holds(session: Session, row: JobRow) -> tuple[str, ...]:
    if row.state not in ACTIVE:
        return ()
    alone, common = holding.held_by(session, row.id)
    return (*alone, *(f"{name} (shared)" for name in common))
