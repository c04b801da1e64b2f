"""Forgetting jobs that ended long ago: their rows, and what the journal has of them.

The journal's part goes first: a crash between the two leaves a job that is still listed, and is forgotten the
next time. What a job made is not touched, and jobs that have not ended are none of this module's business.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from dlpx_remote.jobs.durable import forget_runs
from dlpx_remote.jobs.model import JobState
from dlpx_remote.store import Store
from dlpx_remote.store.job_models import JobRow

_ENDED = [state for state in JobState if state.ended]
_AT_ONCE = 200  # jobs in one transaction


def count(store: Store, before: datetime) -> int:
    """How many jobs ended before a moment."""
    with store.read() as session:
        return session.scalars(select(func.count(JobRow.id)).where(*_old(before))).one()


def prune(store: Store, before: datetime) -> int:
    """Forget the jobs that ended before a moment; how many those were.

    Raises:
        JobError: the journal cannot be opened or written; the jobs are still there.
        StateError: the database takes nothing.
    """
    forgotten = 0
    while True:
        with store.read() as session:
            rows = _oldest(session, before)
        if not rows:
            return forgotten
        forget_runs(store.url, [workflow for _, workflow in rows])
        with store.write() as session:
            session.execute(delete(JobRow).where(JobRow.id.in_([id for id, _ in rows])))
        forgotten += len(rows)


def _oldest(session: Session, before: datetime) -> list[tuple[int, str]]:
    query = select(JobRow.id, JobRow.workflow_id).where(*_old(before)).order_by(JobRow.id).limit(_AT_ONCE)
    return [(row.id, row.workflow_id) for row in session.execute(query)]


def _old(before: datetime) -> tuple[ColumnElement[bool], ...]:
    return JobRow.state.in_(_ENDED), JobRow.finished < before
