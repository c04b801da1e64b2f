"""Jobs that are asked for, which of them may begin, and what they hold meanwhile.

All of it happens in transactions that exclude each other, so that two processes never give the same data set
to two jobs. Jobs are served in the order in which they were asked for; one that waits for a data set keeps
its place before later ones that need the same.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from dlpx_remote.jobs import holding
from dlpx_remote.jobs.base import Busy, JobError, Request
from dlpx_remote.jobs.liveness import Identity, Watch
from dlpx_remote.jobs.model import ACTIVE, JobState, Limits
from dlpx_remote.redaction import redact
from dlpx_remote.store import Store
from dlpx_remote.store.job_models import ExecutorRow, JobRow
from dlpx_remote.store.outbox import put

_POSTGRESQL_LOCK = 0x646C7079  # any number that is ours: held while jobs are given out


@dataclass(frozen=True)
class Ticket:
    """A job that is to be run: its reference and its name in the journal."""

    reference: str
    workflow_id: str


@dataclass(frozen=True)
class Order:
    """What somebody asks for; see :meth:`dlpx_remote.jobs.jobs.Jobs.submit`."""

    operation: str
    request: Request
    title: str
    object: str
    locks: tuple[str, ...]
    hosts: tuple[str, ...]
    shares: tuple[str, ...] = ()


def told(row: JobRow) -> dict[str, str | None]:
    """What an event tells of a job."""
    return {
        "job": row.reference,
        "operation": row.operation,
        "object": row.object,
        "title": row.title,
        "state": str(row.state),
        "error": row.error_message,
        "action": row.error_action,
    }


class Queue:
    """The jobs that wait, and their way to a process. Safe for use from several threads."""

    def __init__(self, store: Store, limits: Limits, version: str) -> None:
        self._store = store
        self._limits = limits
        self._version = version

    def add(self, order: Order, executor: str | None, wait: bool) -> Ticket:
        """A new job, for the process ``executor`` or any worker.

        Raises:
            Busy: not ``wait``, and another job holds or waits for what it needs.
        """
        with self._alone() as session:
            if not wait:
                self._refuse_busy(session, order)
            number = self._store.next_number(session, "job")
            ticket = Ticket(f"JOB-{number}", f"JOB-{number}-{secrets.token_hex(8)}")
            row = JobRow(
                reference=ticket.reference,
                workflow_id=ticket.workflow_id,
                operation=order.operation,
                object=redact(order.object),
                title=redact(order.title),
                request=order.request,
                locks=list(order.locks),
                hosts=list(order.hosts),
                state=JobState.QUEUED,
                executor=executor,
                attempt=0,
                version=self._version,
                output_bytes=0,
                created=_now(),
            )
            session.add(row)
            session.flush()
            holding.share(session, row.id, order.shares)
            return ticket

    def take(self, executor: str, also_any: int) -> list[Ticket]:
        """Jobs that may begin now in the process ``executor``; from now on they hold what they need.

        Args:
            executor: the process.
            also_any: how many jobs it takes of those that any worker may run.
        """
        if not self._waiting(executor, also_any):
            return []
        with self._alone() as session:
            queued = session.scalars(
                select(JobRow).where(JobRow.state == JobState.QUEUED).order_by(JobRow.id)
            ).all()
            held = holding.held(session)
            shared = holding.shares(session, (JobState.QUEUED,))
            active = session.execute(select(JobRow.hosts).where(JobRow.state.in_(ACTIVE))).scalars().all()
            running = len(active)
            hosts = Counter(host for used in active for host in used)
            taken = []
            for row in queued:
                mine = row.executor == executor
                takes = mine or (row.executor is None and also_any > 0)
                free = (
                    running < self._limits.overall
                    and held.allows(row.locks, shared[row.id])
                    and all(hosts[host] < self._limits.per_host for host in row.hosts)
                )
                if takes or row.executor is not None:
                    held.add(row.locks, shared[row.id])  # later ones do not overtake
                if not (takes and free):
                    continue
                holding.lock(session, row.id, row.locks)
                row.state, row.executor = JobState.RUNNING, executor
                put(session, "job.started", told(row))
                running += 1
                hosts.update(row.hosts)
                also_any -= 0 if mine else 1
                taken.append(Ticket(row.reference, row.workflow_id))
            return taken

    def state(self, reference: str) -> JobState:
        """Of a job that is known to be there."""
        with self._store.read() as session:
            return JobState(session.scalars(select(JobRow.state).where(JobRow.reference == reference)).one())

    def cancel(self, reference: str) -> JobState:
        """Ask for a job's end; one that has not begun ends at once.

        Raises:
            JobError: it has ended already, or is undoing what it did.
        """
        with self._alone() as session:
            row = session.scalars(select(JobRow).where(JobRow.reference == reference)).one()
            state = JobState(row.state)
            if state.ended:
                raise JobError(f"{reference} has ended already ({state}).", "There is nothing to cancel.")
            if state is JobState.COMPENSATING:
                raise JobError(
                    f"{reference} is undoing what it did, which is not cut short.", "Wait for its end."
                )
            row.cancel_requested = _now()
            if state is JobState.QUEUED:
                row.state, row.finished = JobState.CANCELLED, _now()
                row.error_message = f"{reference} was cancelled before it began."
                holding.release(session, row.id)
                put(session, "job.ended", told(row))
            return JobState(row.state)

    def release_dead(self, dead: str, heir: str) -> list[Ticket]:
        """Give the jobs of a dead process to ``heir``, who is to resume those returned."""
        with self._alone() as session:
            if (
                session.get(ExecutorRow, dead) is None
                and not session.scalars(
                    select(JobRow.id).where(JobRow.executor == dead, JobRow.state.in_(ACTIVE))
                ).first()
            ):
                return []
            session.execute(
                update(JobRow)
                .where(JobRow.executor == dead, JobRow.state == JobState.QUEUED)
                .values(executor=heir)
            )
            rows = session.scalars(
                select(JobRow).where(JobRow.executor == dead, JobRow.state.in_(ACTIVE)).order_by(JobRow.id)
            ).all()
            for row in rows:
                row.executor = heir
                row.attempt += 1
            session.execute(delete(ExecutorRow).where(ExecutorRow.id == dead))
            return [Ticket(row.reference, row.workflow_id) for row in rows]

    # processes

    def enter(self, identity: Identity, worker: bool) -> None:
        """A process begins to run jobs."""
        with self._store.write() as session:
            session.add(
                ExecutorRow(
                    id=identity.id,
                    host_name=identity.host_name,
                    boot=identity.boot,
                    process=identity.process,
                    started_ticks=identity.started_ticks,
                    worker=worker,
                    beats=0,
                    began=_now(),
                )
            )

    def beat(self, executor: str) -> bool:
        """The process lives. False when others took it for dead and have its jobs."""
        with self._store.write() as session:
            known = session.execute(
                update(ExecutorRow)
                .where(ExecutorRow.id == executor)
                .values(beats=ExecutorRow.beats + 1)
                .returning(ExecutorRow.id)
            )
            return known.first() is not None

    def has(self, executor: str, reference: str) -> bool:
        """Whether a job that has begun belongs to ``executor``."""
        with self._store.read() as session:
            query = select(JobRow.id).where(
                JobRow.reference == reference, JobRow.executor == executor, JobRow.state.in_(ACTIVE)
            )
            return session.scalars(query).first() is not None

    def leave(self, executor: str) -> None:
        """The process runs no more jobs. What it still has is left for others to find, as after a crash."""
        with self._alone() as session:
            session.execute(delete(ExecutorRow).where(ExecutorRow.id == executor))

    def executors(self) -> list[tuple[Identity, int, bool]]:
        """Those that run jobs or died running them: who, beats, whether a worker."""
        with self._store.read() as session:
            return [
                (
                    Identity(row.id, row.host_name, row.boot, row.process, row.started_ticks),
                    row.beats,
                    row.worker,
                )
                for row in session.scalars(select(ExecutorRow))
            ]

    def is_orphan(self, reference: str) -> bool:
        """Whether the process that had a job is known to be dead; one elsewhere is given the time it has."""
        with self._store.read() as session:
            owner = session.scalars(select(JobRow.executor).where(JobRow.reference == reference)).one()
        if owner is None:
            return False
        known = [(who, beats) for who, beats, _ in self.executors() if who.id == owner]
        return not known or Watch().dead(*known[0])

    def lost_owners(self) -> list[str]:
        """Processes that have jobs, but are not among the executors any more."""
        with self._store.read() as session:
            known = select(ExecutorRow.id)
            return list(
                session.scalars(
                    select(JobRow.executor)
                    .where(
                        JobRow.executor.is_not(None),
                        JobRow.executor.not_in(known),
                        JobRow.state.in_((JobState.QUEUED, *ACTIVE)),
                    )
                    .distinct()
                )
            )

    def _waiting(self, executor: str, also_any: int) -> bool:
        with self._store.read() as session:
            whose = JobRow.executor == executor
            if also_any > 0:
                whose = whose | JobRow.executor.is_(None)
            return (
                session.scalars(
                    select(JobRow.id).where(JobRow.state == JobState.QUEUED, whose).limit(1)
                ).first()
                is not None
            )

    def _refuse_busy(self, session: Session, order: Order) -> None:
        holder = _holder(session, order)
        if holder is not None:
            name, row = holder
            raise Busy(
                f"{row.reference} ({row.title}) {'waits for' if row.state == JobState.QUEUED else 'holds'} "
                f"{name}, which {order.title} needs.",
                f"Wait for its end (dlpx-remote job follow {row.reference}), or ask again with --wait.",
            )

    def _alone(self) -> AbstractContextManager[Session]:
        return alone(self._store)


@contextmanager
def alone(store: Store) -> Iterator[Session]:
    """A transaction that no other one of this kind runs beside: what jobs hold changes in these only."""
    with store.write() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
        yield session


def _holder(session: Session, order: Order) -> tuple[str, JobRow] | None:
    """The first job that has or waits for what ``order`` needs, and which name."""
    if not (order.locks or order.shares):
        return None
    states = (JobState.QUEUED, *ACTIVE)
    rows = session.scalars(select(JobRow).where(JobRow.state.in_(states)).order_by(JobRow.id))
    shared, alone = holding.shares(session, states), holding.locks(session)
    for row in rows:
        theirs = {*row.locks, *alone[row.id]}
        common = sorted(theirs.intersection((*order.locks, *order.shares)))
        common += sorted(set(shared[row.id]).intersection(order.locks))
        if common:
            return common[0], row
    return None


def _now() -> datetime:
    return datetime.now(UTC)
