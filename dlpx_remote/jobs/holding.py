"""What jobs hold: for themselves alone, or in common with others that need it in the same way.

Two jobs may share a snapshot that both clone; who removes it holds it alone. A job that waits counts as
holding what it waits for, so that later ones do not overtake it. Called within the transactions of
:func:`dlpx_remote.jobs.queue.alone` only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from dlpx_remote.jobs.model import ACTIVE, JobState
from dlpx_remote.store.job_models import JobLockRow, JobRow, JobShareRow


@dataclass
class Held:
    """Names that are held.

    Attributes:
        alone: by one job.
        shared: by one job or several.
    """

    alone: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)

    def allows(self, locks: Iterable[str], shares: Iterable[str]) -> bool:
        """Whether a job may hold ``locks`` alone and ``shares`` in common as well."""
        return (
            self.alone.isdisjoint(locks) and self.alone.isdisjoint(shares) and self.shared.isdisjoint(locks)
        )

    def add(self, locks: Iterable[str], shares: Iterable[str]) -> None:
        """A job holds these too, or waits for them."""
        self.alone.update(locks)
        self.shared.update(shares)


def held(session: Session) -> Held:
    """What jobs that have begun hold."""
    shared = select(JobShareRow.name).join(JobRow).where(JobRow.state.in_(ACTIVE))
    return Held(set(session.scalars(select(JobLockRow.name))), set(session.scalars(shared)))


def shares(session: Session, states: Collection[JobState]) -> defaultdict[int, list[str]]:
    """What the jobs in these states share or are to share, by the ids of their rows."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    query = select(JobShareRow.job_id, JobShareRow.name).join(JobRow).where(JobRow.state.in_(states))
    for row in session.execute(query.order_by(JobShareRow.name)):
        found[row.job_id].append(row.name)
    return found


def locks(session: Session) -> defaultdict[int, list[str]]:
    """What jobs that have begun hold alone, by the ids of their rows; also what they got to know later."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for row in session.execute(select(JobLockRow.job_id, JobLockRow.name).order_by(JobLockRow.name)):
        found[row.job_id].append(row.name)
    return found


def lock(session: Session, job: int, names: Iterable[str]) -> None:
    """A job holds these alone from now on."""
    rows = [{"name": name, "job_id": job} for name in dict.fromkeys(names)]
    if rows:
        session.execute(insert(JobLockRow), rows)


def share(session: Session, job: int, names: Iterable[str]) -> None:
    """A job shares these from now on, or is to share them once it begins."""
    rows = [{"name": name, "job_id": job} for name in names]
    if rows:
        session.execute(insert(JobShareRow), rows)


def release(session: Session, job: int) -> None:
    """A job holds nothing any more, and is to share nothing."""
    session.execute(delete(JobLockRow).where(JobLockRow.job_id == job))
    session.execute(delete(JobShareRow).where(JobShareRow.job_id == job))


def held_by(session: Session, job: int) -> tuple[list[str], list[str]]:
    """What one job holds alone, and what it shares or is to share; by name."""
    alone = select(JobLockRow.name).where(JobLockRow.job_id == job).order_by(JobLockRow.name)
    common = select(JobShareRow.name).where(JobShareRow.job_id == job).order_by(JobShareRow.name)
    return list(session.scalars(alone)), list(session.scalars(common))


def holders(session: Session, locks: Collection[str], shares: Collection[str]) -> list[tuple[str, int]]:
    """Who among the jobs that have begun stands against holding ``locks`` alone and ``shares`` in common.

    Returns:
        name and id of the job's row, by name.
    """
    alone = select(JobLockRow.name, JobLockRow.job_id).where(JobLockRow.name.in_([*locks, *shares]))
    common = (
        select(JobShareRow.name, JobShareRow.job_id)
        .join(JobRow)
        .where(JobRow.state.in_(ACTIVE), JobShareRow.name.in_(locks))
    )
    return sorted({(row.name, row.job_id) for query in (alone, common) for row in session.execute(query)})
