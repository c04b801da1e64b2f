"""The rows of jobs that have begun: their steps, output and end. Every write says for which attempt it is.

A process that lost its job to another one (it was held up, and taken for dead) finds its attempt outdated and
learns so by :class:`Abandoned`, before it has written anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, delete, insert, select, update
from sqlalchemy.orm import Session

from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs.base import Abandoned, Request
from dlpx_remote.jobs.model import ACTIVE, JobState, StepState
from dlpx_remote.jobs.outcomes import Outcome, same_title
from dlpx_remote.redaction import redact
from dlpx_remote.store import Store
from dlpx_remote.store.job_models import ExecutorRow, JobEventRow, JobLockRow, JobRow, JobStepRow

OUTPUT_LIMIT = 1 << 20
"""Bytes of output that are kept of one job."""
LINE_LIMIT = 4096
"""Characters that are kept of one line."""


@dataclass(frozen=True)
class Line:
    """A line of output on its way to the database."""

    step: int | None
    text: str
    at: datetime


@dataclass(frozen=True)
class Begun:
    """A job that this process has taken up.

    Attributes:
        id: of its row.
        attempt: which of the processes that took it up this is, from 1.
        steps: how many steps earlier attempts began.
    """

    id: int
    reference: str
    operation: str
    request: Request
    attempt: int
    steps: int


class Records:
    """Writes what happens in the jobs of one process. Safe for use from several threads."""

    def __init__(self, store: Store, executor: str, version: str) -> None:
        self._store = store
        self._executor = executor
        self._version = version

    def begin(self, reference: str) -> Begun | None:
        """Take the job up; whoever had it before writes nothing more. None when it has ended."""
        with self._store.write() as session:
            row = session.scalars(
                select(JobRow).where(JobRow.reference == reference).with_for_update()
            ).one_or_none()
            if row is None or row.state not in ACTIVE:
                return None
            row.executor, row.version = self._executor, self._version
            row.attempt += 1
            row.started = row.started or _now()
            last = session.scalars(
                select(JobStepRow.number)
                .where(JobStepRow.job_id == row.id)
                .order_by(JobStepRow.number.desc())
                .limit(1)
            ).one_or_none()
            return Begun(row.id, row.reference, row.operation, dict(row.request), row.attempt, last or 0)

    def begin_step(self, job: Begun, number: int, title: str, *, once: bool, undoing: bool) -> Outcome | None:
        """Write down that a step begins, before it does.

        Returns:
            None when it is to be run; else its outcome, known without running it.
        """
        with self._store.write() as session:
            asked = self._fence(session, job)
            row = session.execute(
                select(JobStepRow.state, JobStepRow.outcome, JobStepRow.title).where(
                    JobStepRow.job_id == job.id, JobStepRow.number == number
                )
            ).one_or_none()
            known = None
            state = StepState.RUNNING
            if row is not None and row.outcome is not None:
                return Outcome.from_json(row.outcome)
            if row is not None and not same_title(row.title, title):
                known, state = Outcome(title, special="changed"), StepState.FAILED
            elif row is not None and once:
                known, state = Outcome(title, special="interrupted"), StepState.INTERRUPTED
            elif row is None and asked and not undoing:
                known, state = Outcome(title, special="cancelled"), StepState.SKIPPED
            values = {
                "state": state,
                "started": _now(),
                "finished": None if known is None else _now(),
                "outcome": None if known is None else known.to_json(),
            }
            if row is None:
                session.execute(
                    insert(JobStepRow).values(
                        job_id=job.id,
                        number=number,
                        title=redact(title),
                        once=once,
                        undoing=undoing,
                        **values,
                    )
                )
            else:
                session.execute(_step(job, number).values(**values))
            return known

    def finish_step(self, job: Begun, number: int, outcome: Outcome, lines: Sequence[Line]) -> None:
        """Write down how a step ended, with what it said."""
        with self._store.write() as session:
            self._fence(session, job)
            session.execute(
                _step(job, number).values(
                    state=StepState.DONE if outcome.error is None else StepState.FAILED,
                    finished=_now(),
                    outcome=outcome.to_json(),
                    error_message=None if outcome.error is None else redact(str(outcome.error)),
                )
            )
            _add_lines(session, job, lines)

    def note_change(self, job: Begun, number: int, outcome: Outcome) -> None:
        """Write down that the workflow is another one than that which was begun, in place of a step."""
        with self._store.write() as session:
            self._fence(session, job)
            session.execute(delete(JobStepRow).where(_is(job, number)))
            session.execute(
                insert(JobStepRow).values(
                    job_id=job.id,
                    number=number,
                    title="go on with a workflow that has changed",
                    once=False,
                    undoing=False,
                    state=StepState.FAILED,
                    outcome=outcome.to_json(),
                    started=_now(),
                    finished=_now(),
                )
            )

    def add_lines(self, job: Begun, lines: Sequence[Line]) -> None:
        """Keep lines of output."""
        with self._store.write() as session:
            self._fence(session, job)
            _add_lines(session, job, lines)

    def expect(self, job: Begun, steps: int) -> None:
        """How many steps there will be."""
        with self._store.write() as session:
            self._fence(session, job)
            session.execute(update(JobRow).where(JobRow.id == job.id).values(expected_steps=steps))

    def compensating(self, job: Begun) -> None:
        """The job undoes what it did."""
        with self._store.write() as session:
            self._fence(session, job)
            session.execute(update(JobRow).where(JobRow.id == job.id).values(state=JobState.COMPENSATING))

    def finish(
        self,
        job: Begun,
        state: Callable[[bool], JobState],
        result: Any,
        error: RemoteError | None,
        lines: Sequence[Line],
    ) -> None:
        """The job has ended: what it held is free.

        Args:
            job: the job.
            state: says which end it was; told whether somebody had asked for it.
            result: what the workflow gave back.
            error: what it raised.
            lines: output that is not written down yet.
        """
        with self._store.write() as session:
            asked = self._fence(session, job)
            _add_lines(session, job, lines)
            session.execute(
                update(JobRow)
                .where(JobRow.id == job.id)
                .values(
                    state=state(asked),
                    finished=_now(),
                    result=json.dumps(result, ensure_ascii=False) if error is None else None,
                    error_message=None if error is None else redact(error.message),
                    error_action=None if error is None else redact(error.action),
                    error_output=None if error is None else redact(error.output)[-OUTPUT_LIMIT:],
                )
            )
            session.execute(delete(JobLockRow).where(JobLockRow.job_id == job.id))

    def cancel_requested(self, job: Begun) -> bool:
        """Whether somebody asked for the job's end.

        Raises:
            Abandoned: another process has the job.
        """
        with self._store.read() as session:
            return self._fence(session, job, lock=False)

    def executors(self) -> list[ExecutorRow]:
        """All processes that run jobs, or died running them."""
        with self._store.read() as session:
            return list(session.scalars(select(ExecutorRow)))

    def _fence(self, session: Session, job: Begun, lock: bool = True) -> bool:
        """Whether the job is to end; refuses those that it no longer belongs to."""
        query = select(JobRow.executor, JobRow.attempt, JobRow.cancel_requested).where(JobRow.id == job.id)
        row = session.execute(query.with_for_update() if lock else query).one_or_none()
        if row is None or row.executor != self._executor or row.attempt != job.attempt:
            raise Abandoned(f"{job.reference} was taken over by another process")
        return row.cancel_requested is not None


def _is(job: Begun, number: int) -> ColumnElement[bool]:
    return and_(JobStepRow.job_id == job.id, JobStepRow.number == number)


def _step(job: Begun, number: int) -> Update:
    return update(JobStepRow).where(_is(job, number))


def _add_lines(session: Session, job: Begun, lines: Sequence[Line]) -> None:
    if not lines:
        return
    kept = session.execute(select(JobRow.output_bytes).where(JobRow.id == job.id)).scalar_one()
    if kept >= OUTPUT_LIMIT:
        return
    rows = []
    for line in lines:
        text = redact(line.text)[:LINE_LIMIT].replace("\x00", "\\0")
        kept += len(text.encode("utf-8", "replace")) + 1
        if kept >= OUTPUT_LIMIT:
            text = f"… no more than {OUTPUT_LIMIT} bytes of output are kept of one job."
        rows.append({"job_id": job.id, "step": line.step, "line": text, "at": line.at})
        if kept >= OUTPUT_LIMIT:
            break
    session.execute(insert(JobEventRow), rows)
    session.execute(update(JobRow).where(JobRow.id == job.id).values(output_bytes=kept))


def _now() -> datetime:
    return datetime.now(UTC)
