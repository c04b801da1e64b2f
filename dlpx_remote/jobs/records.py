"""The rows of jobs that have begun: their steps, output and end. Every write says for which attempt it is.

A process that lost its job to another one (it was held up, and taken for dead) finds its attempt outdated and
learns so by :class:`Abandoned`, before it has written anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, and_, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from dlpx_remote.errors import RemoteError
from dlpx_remote.jobs import holding
from dlpx_remote.jobs.base import Abandoned, Busy, Request
from dlpx_remote.jobs.model import ACTIVE, JobState, StepState
from dlpx_remote.jobs.outcomes import Outcome, same_title
from dlpx_remote.jobs.queue import alone, told
from dlpx_remote.redaction import redact
from dlpx_remote.store import Store
from dlpx_remote.store.job_models import ExecutorRow, JobEventRow, JobRow, JobStepRow
from dlpx_remote.store.outbox import put

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
        unended: those of them whose end was not written down.
    """

    id: int
    reference: str
    operation: str
    request: Request
    attempt: int
    steps: int
    unended: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Ended:
    """A step that has ended: which, how and when."""

    number: int
    outcome: Outcome
    at: datetime


@dataclass(frozen=True)
class Meanwhile:
    """What has happened in a job since something was last written down."""

    ends: tuple[Ended, ...] = ()
    lines: tuple[Line, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ends or self.lines)


_LOOK_AT_STEP = (
    select(
        JobRow.executor,
        JobRow.attempt,
        JobRow.cancel_requested,
        JobStepRow.state,
        JobStepRow.outcome,
        JobStepRow.title,
    )
    .outerjoin(JobStepRow, and_(JobStepRow.job_id == JobRow.id, JobStepRow.number == bindparam("step")))
    .where(JobRow.id == bindparam("job"))
    .with_for_update(of=JobRow)
)
_THE_STEP = and_(JobStepRow.job_id == bindparam("job"), JobStepRow.number == bindparam("step"))
_STEPS = cast(Table, JobStepRow.__table__)
_ADD_STEP = insert(_STEPS)
_BEGIN_STEP_AGAIN = (
    update(_STEPS)
    .where(_THE_STEP)
    .values(
        state=bindparam("new_state"),
        started=bindparam("new_started"),
        finished=bindparam("new_finished"),
        outcome=bindparam("new_outcome"),
    )
)
_END_STEP = (
    update(_STEPS)
    .where(_THE_STEP)
    .values(
        state=bindparam("new_state"),
        finished=bindparam("new_finished"),
        outcome=bindparam("new_outcome"),
        error_message=bindparam("new_error"),
    )
)
"""What every step needs is made once: making a statement costs more than running it."""


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
            steps = session.execute(
                select(JobStepRow.number, JobStepRow.finished).where(JobStepRow.job_id == row.id)
            ).all()
            return Begun(
                row.id,
                row.reference,
                row.operation,
                dict(row.request),
                row.attempt,
                steps=max((step.number for step in steps), default=0),
                unended=frozenset(step.number for step in steps if step.finished is None),
            )

    def begin_step(
        self,
        job: Begun,
        number: int,
        title: str,
        *,
        once: bool,
        undoing: bool,
        uncut: bool = False,
        meanwhile: Meanwhile = Meanwhile(),
    ) -> Outcome | None:
        """Write down that a step begins, before it does.

        Args:
            job: the job.
            number: of the step.
            title: what it does.
            once: it must not be run twice.
            undoing: the job compensates.
            uncut: it is to be run although the job was cancelled.
            meanwhile: what is not written down yet.

        Returns:
            None when it is to be run; else its outcome, known without running it.
        """
        with self._store.write() as session:
            connection = session.connection()
            row = connection.execute(_LOOK_AT_STEP, {"job": job.id, "step": number}).one_or_none()
            row = self._own(job, row)
            _write(connection, job, meanwhile)
            if row.outcome is not None:
                return Outcome.from_json(row.outcome)
            is_new = row.state is None
            known = None
            state = StepState.RUNNING
            if not is_new and not same_title(row.title, title):
                known, state = Outcome(title, special="changed"), StepState.FAILED
            elif not is_new and once:
                known, state = Outcome(title, special="interrupted"), StepState.INTERRUPTED
            elif is_new and row.cancel_requested is not None and not (undoing or uncut):
                known, state = Outcome(title, special="cancelled"), StepState.SKIPPED
            values = {
                "state": state,
                "started": _now(),
                "finished": None if known is None else _now(),
                "outcome": None if known is None else known.to_json(),
            }
            if is_new:
                kind = {"title": redact(title), "once": once, "undoing": undoing}
                connection.execute(_ADD_STEP, {"job_id": job.id, "number": number, **kind, **values})
            else:
                connection.execute(
                    _BEGIN_STEP_AGAIN,
                    {
                        "job": job.id,
                        "step": number,
                        **{f"new_{name}": value for name, value in values.items()},
                    },
                )
            return known

    def write(self, job: Begun, meanwhile: Meanwhile) -> None:
        """Write down how steps ended and what was said; :meth:`begin_step` and :meth:`finish` do so too."""
        with self._store.write() as session:
            self._fence(session, job)
            _write(session.connection(), job, meanwhile)

    def note_change(self, job: Begun, number: int, outcome: Outcome, meanwhile: Meanwhile) -> None:
        """Write down that the workflow is another one than that which was begun, in place of a step."""
        with self._store.write() as session:
            self._fence(session, job)
            _write(session.connection(), job, meanwhile)
            session.execute(
                delete(JobStepRow).where(JobStepRow.job_id == job.id, JobStepRow.number == number)
            )
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

    def expect(self, job: Begun, steps: int, meanwhile: Meanwhile) -> None:
        """How many steps there will be."""
        with self._store.write() as session:
            self._fence(session, job)
            _write(session.connection(), job, meanwhile)
            session.execute(update(JobRow).where(JobRow.id == job.id).values(expected_steps=steps))

    def hold(self, job: Begun, locks: Sequence[str]) -> None:
        """The job holds these as well.

        Raises:
            Busy: another job holds one of them.
        """
        with alone(self._store) as session:
            self._fence(session, job)
            for name, id in holding.holders(session, locks, ()):
                if id != job.id:
                    other = session.get_one(JobRow, id)
                    raise Busy(
                        f"{other.reference} ({other.title}) holds {name}, which {job.reference} needs.",
                        f"Wait for its end (dlpx-remote job follow {other.reference}), and ask again.",
                    )
            own, _ = holding.held_by(session, job.id)
            holding.lock(session, job.id, (name for name in locks if name not in own))

    def compensating(self, job: Begun, meanwhile: Meanwhile) -> None:
        """The job undoes what it did."""
        with self._store.write() as session:
            self._fence(session, job)
            _write(session.connection(), job, meanwhile)
            session.execute(update(JobRow).where(JobRow.id == job.id).values(state=JobState.COMPENSATING))

    def finish(
        self,
        job: Begun,
        state: Callable[[bool], JobState],
        result: Any,
        error: RemoteError | None,
        *,
        meanwhile: Meanwhile,
    ) -> None:
        """The job has ended: what it held is free.

        Args:
            job: the job.
            state: says which end it was; told whether somebody had asked for it.
            result: what the workflow gave back.
            error: what it raised.
            meanwhile: what is not written down yet.
        """
        with self._store.write() as session:
            asked = self._fence(session, job)
            _write(session.connection(), job, meanwhile)
            session.execute(
                update(JobRow)
                .where(JobRow.id == job.id)
                .values(
                    state=state(asked is not None),
                    finished=_now(),
                    result=json.dumps(result, ensure_ascii=False) if error is None else None,
                    error_message=None if error is None else redact(error.message),
                    error_action=None if error is None else redact(error.action),
                    error_output=None if error is None else redact(error.output)[-OUTPUT_LIMIT:],
                )
            )
            holding.release(session, job.id)
            put(session, "job.ended", told(session.get_one(JobRow, job.id, populate_existing=True)))

    def cancel_requested(self, job: Begun) -> datetime | None:
        """When somebody asked last for the job's end.

        Raises:
            Abandoned: another process has the job.
        """
        with self._store.read() as session:
            return self._fence(session, job, lock=False)

    def executors(self) -> list[ExecutorRow]:
        """All processes that run jobs, or died running them."""
        with self._store.read() as session:
            return list(session.scalars(select(ExecutorRow)))

    def _fence(self, session: Session, job: Begun, lock: bool = True) -> datetime | None:
        """When the job was asked to end, if it was; refuses those that it no longer belongs to."""
        query = select(JobRow.executor, JobRow.attempt, JobRow.cancel_requested).where(JobRow.id == job.id)
        row = session.execute(query.with_for_update() if lock else query).one_or_none()
        asked: datetime | None = self._own(job, row).cancel_requested
        return asked

    def _own(self, job: Begun, row: Any) -> Any:
        """The job's row, if the job still belongs to this attempt of this process."""
        if row is None or row.executor != self._executor or row.attempt != job.attempt:
            raise Abandoned(f"{job.reference} was taken over by another process")
        return row


def _write(connection: Connection, job: Begun, meanwhile: Meanwhile) -> None:
    for ended in meanwhile.ends:
        _write_end(connection, job, ended)
    _add_lines(connection, job, meanwhile.lines)


def _write_end(connection: Connection, job: Begun, ended: Ended) -> None:
    error = ended.outcome.error
    connection.execute(
        _END_STEP,
        {
            "job": job.id,
            "step": ended.number,
            "new_state": StepState.DONE if error is None else StepState.FAILED,
            "new_finished": ended.at,
            "new_outcome": ended.outcome.to_json(),
            "new_error": None if error is None else redact(str(error)),
        },
    )


def _add_lines(connection: Connection, job: Begun, lines: Sequence[Line]) -> None:
    if not lines:
        return
    kept = connection.execute(select(JobRow.output_bytes).where(JobRow.id == job.id)).scalar_one()
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
    connection.execute(insert(JobEventRow), rows)
    connection.execute(update(JobRow).where(JobRow.id == job.id).values(output_bytes=kept))


def _now() -> datetime:
    return datetime.now(UTC)
