"""What is to happen when: cron expressions in their time zones, which snapshots may go, and the records.

Several workers look at the same records: whoever moves the time of the next run on is the one who runs it. A
run whose time passed while nobody was there is made once, however many there were; the others are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from dlpx_remote.environments.registry import not_found
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.store import Store
from dlpx_remote.store.outbox import put
from dlpx_remote.store.schedule_models import ScheduleRow, StatusHistoryRow, TurnRow
from dlpx_remote.store.source_models import SourceRow
from dlpx_remote.workflows.sources import Snapshot, Source

Action = Literal["sync", "snapshot", "refresh", "status", "retention"]
ACTIONS: tuple[str, ...] = get_args(Action)
_FOR = {"sync": "dsource", "snapshot": "vdb", "refresh": "vdb"}
_WORDS = {"dsource": "dSource", "vdb": "VDB"}
_MOST_COUNTED = 10_000
KEPT_STATUSES = 1_000
"""How many results of status checks are kept for each source."""


@dataclass(frozen=True)
class Retention:
    """Which snapshots are kept: the newest, and the young. The newest of all is never deleted.

    Attributes:
        count: keep so many of the newest; None counts none.
        days: keep what is not older; None keeps none for its age.
    """

    count: int | None = None
    days: int | None = None


@dataclass(frozen=True)
class Schedule:
    """Something that is done again and again.

    Attributes:
        reference: ``SCHEDULE-<n>``.
        source: name of the dSource or VDB.
        source_reference: its reference.
        kind: ``dsource`` or ``vdb``.
        action: ``sync``, ``snapshot``, ``refresh``, ``status`` or ``retention``.
        cron: five fields, as crontab has them.
        zone: the time zone that they are meant in.
        retention: for the action of that name.
        enabled: whether it runs.
        next: when, in UTC.
        last: when it ran last, in UTC; None if never.
        last_job: the job that the last run asked for.
        last_error: why the last run could not begin; None when it could.
        missed: runs whose time passed while no worker was there.
    """

    reference: str
    source: str
    source_reference: str
    kind: str
    action: str
    cron: str
    zone: str
    retention: Retention | None
    enabled: bool
    next: datetime
    last: datetime | None
    last_job: str | None
    last_error: str | None
    missed: int


@dataclass(frozen=True)
class Due:
    """A run that this process has taken.

    Attributes:
        schedule: as it was.
        missed: how many earlier runs nobody began.
    """

    schedule: Schedule
    missed: int = field(default=0)


@dataclass(frozen=True)
class StatusCheck:
    """What a check of a status found.

    Attributes:
        time: when, in UTC.
        status: ``ACTIVE``, ``INACTIVE``, or ``UNKNOWN`` when it could not be asked.
        error: why not.
        asked_by: the schedule that asked; empty where a person did.
    """

    time: datetime
    status: str
    error: str
    asked_by: str = ""


class ScheduleRecords:
    """The schedules, turns and status checks in the state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self,
        source: Source,
        action: str,
        *,
        cron: str,
        zone: str,
        retention: Retention | None,
        now: datetime,
    ) -> Schedule:
        """Record a schedule.

        Raises:
            InvalidRequest: the action is not for such a source, or the expression or zone cannot be read.
        """
        _check(source, action, retention)
        first = next_run(cron, zone, now)
        with self._store.write() as session:
            row = ScheduleRow(
                reference=f"SCHEDULE-{self._store.next_number(session, 'schedule')}",
                source_id=session.scalars(
                    select(SourceRow.id).where(SourceRow.reference == source.reference)
                ).one(),
                action=action,
                cron=cron,
                zone=zone,
                options={} if retention is None else {"count": retention.count, "days": retention.days},
                enabled=True,
                next=first,
                missed=0,
            )
            session.add(row)
            session.flush()
            return _schedule(row)

    def all(self, source: str | None = None) -> list[Schedule]:
        """All, or those of a source by reference; the next one first."""
        statement = select(ScheduleRow).join(SourceRow).order_by(ScheduleRow.next, ScheduleRow.id)
        if source is not None:
            statement = statement.where(SourceRow.reference == source)
        with self._store.read() as session:
            return [_schedule(row) for row in session.scalars(statement)]

    def get(self, reference: str) -> Schedule:
        """By reference; NotFound names the nearest known one."""
        with self._store.read() as session:
            return _schedule(_row(session, reference))

    def remove(self, reference: str) -> Schedule:
        """Forget it."""
        with self._store.write() as session:
            row = _row(session, reference)
            found = _schedule(row)
            session.delete(row)
            return found

    def enable(self, reference: str, enabled: bool, now: datetime) -> Schedule:
        """Have it run, or not; what would have run meanwhile counts as missed by nobody."""
        with self._store.write() as session:
            row = _row(session, reference)
            row.enabled = enabled
            row.next = next_run(row.cron, row.zone, now)
            return _schedule(row)

    def take_due(self, now: datetime) -> list[Due]:
        """Every run whose time has come and that no other worker has taken."""
        taken = []
        with self._store.write() as session:
            rows = session.scalars(
                select(ScheduleRow)
                .where(ScheduleRow.enabled.is_(True), ScheduleRow.next <= now)
                .order_by(ScheduleRow.next)
            ).all()
            for row in rows:
                found = _schedule(row)
                later, missed = _after(row.cron, row.zone, row.next, now)
                row.next, row.last, row.missed = later, now, row.missed + missed
                taken.append(Due(found, missed))
        return taken

    def record_run(self, reference: str, job: str | None, error: str | None) -> None:
        """Note what came of a run; a schedule that is gone is no error."""
        with self._store.write() as session:
            session.execute(
                update(ScheduleRow)
                .where(ScheduleRow.reference == reference)
                .values(last_job=job, last_error=error)
            )

    def take_turn(self, name: str, every: timedelta, now: datetime) -> bool:
        """Whether something with an interval is due, and is ours to do."""
        with self._store.write() as session:
            row = session.get(TurnRow, name)
            if row is None:
                session.add(TurnRow(name=name, next=now + every))
                return True
            if row.next > now + every:  # the clock was put back
                row.next = now
            if row.next > now:
                return False
            row.next = now + every
            return True

    def record_status(self, source: str, check: StatusCheck) -> None:
        """Keep what a check found, and not too many of them."""
        with self._store.write() as session:
            number = session.scalars(select(SourceRow.id).where(SourceRow.reference == source)).first()
            if number is None:
                return
            before = session.scalars(
                select(StatusHistoryRow.status)
                .where(StatusHistoryRow.source_id == number)
                .order_by(StatusHistoryRow.id.desc())
                .limit(1)
            ).first()
            session.add(
                StatusHistoryRow(
                    source_id=number,
                    time=check.time,
                    status=check.status,
                    error=check.error,
                    asked_by=check.asked_by,
                )
            )
            session.flush()
            if before is not None and before != check.status:
                name = session.scalars(select(SourceRow.name).where(SourceRow.id == number)).one()
                put(
                    session,
                    "status.changed",
                    {"object": name, "before": before, "status": check.status, "error": check.error},
                )
            oldest = session.scalars(
                select(StatusHistoryRow.id)
                .where(StatusHistoryRow.source_id == number)
                .order_by(StatusHistoryRow.id.desc())
                .offset(KEPT_STATUSES)
                .limit(1)
            ).first()
            if oldest is not None:
                session.execute(
                    delete(StatusHistoryRow).where(
                        StatusHistoryRow.source_id == number, StatusHistoryRow.id <= oldest
                    )
                )

    def statuses(self, source: str, newest: int) -> list[StatusCheck]:
        """What checks found, the newest first."""
        with self._store.read() as session:
            rows = session.scalars(
                select(StatusHistoryRow)
                .join(SourceRow, StatusHistoryRow.source_id == SourceRow.id)
                .where(SourceRow.reference == source)
                .order_by(StatusHistoryRow.id.desc())
                .limit(newest)
            )
            return [StatusCheck(row.time, row.status, row.error, row.asked_by) for row in rows]


def next_run(cron: str, zone: str, after: datetime) -> datetime:
    """The first run after a moment, in UTC.

    A time that the clock skips in spring is taken when it goes on; one that comes twice in autumn is taken
    once, unless the expression means every hour or minute.

    Args:
        cron: five fields.
        zone: name of a time zone, for example ``Europe/Berlin``.
        after: any time zone.

    Raises:
        InvalidRequest: the expression or the zone cannot be read, or no such moment comes.
    """
    from cronsim import CronSim, CronSimError

    try:
        where = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(
            f"There is no time zone {zone!r}.", "Use a name such as UTC or Europe/Berlin."
        ) from None
    try:
        return next(CronSim(cron, after.astimezone(where))).astimezone(UTC)
    except CronSimError as error:
        raise InvalidRequest(
            f"{cron!r} is no cron expression: {error}.",
            "It has five fields: minute, hour, day, month, weekday. '30 2 * * *' is half past two at night.",
        ) from None
    except StopIteration:
        raise InvalidRequest(f"{cron!r} names a moment that never comes.", "Correct day and month.") from None


def superfluous(
    snapshots: Sequence[Snapshot], needed: Collection[str], retention: Retention, now: datetime
) -> list[Snapshot]:
    """The snapshots that may go, oldest first.

    Args:
        snapshots: of one source, oldest first.
        needed: references of those that something was made from.
        retention: what is kept.
        now: the moment that ages are measured at.
    """
    newest = max(retention.count or 0, 1)
    candidates = snapshots[:-newest]
    if retention.days is not None:
        limit = now - timedelta(days=retention.days)
        candidates = [one for one in candidates if datetime.fromisoformat(one.taken) < limit]
    return [one for one in candidates if one.reference not in needed]


def _after(cron: str, zone: str, due: datetime, now: datetime) -> tuple[datetime, int]:
    """The first run that is still to come, and how many between ``due`` and now nobody began."""
    later, missed = next_run(cron, zone, due), 0
    while later <= now:
        missed += 1
        if missed >= _MOST_COUNTED:
            return next_run(cron, zone, now), missed
        later = next_run(cron, zone, later)
    return later, missed


def _check(source: Source, action: str, retention: Retention | None) -> None:
    if action not in ACTIONS:
        raise InvalidRequest(f"There is no action {action!r}.", f"Use one of: {', '.join(ACTIONS)}.")
    if _FOR.get(action, source.kind) != source.kind:
        raise InvalidRequest(
            f"{action} is for {_WORDS[_FOR[action]]}s, and {source.name} is a {_WORDS[source.kind]}.",
            "Use refresh or snapshot for a VDB, and sync for a dSource.",
        )
    if (action == "retention") != (retention is not None):
        raise InvalidRequest(
            "How many snapshots are kept belongs to the action retention, and to it alone.",
            "Give --keep and --keep-days with retention.",
        )
    if retention is not None and (
        (retention.count is None and retention.days is None)
        or any(value is not None and value < 1 for value in (retention.count, retention.days))
    ):
        raise InvalidRequest(
            "Retention needs how many snapshots to keep, or for how many days; both are at least 1.",
            "For example: --keep 14 --keep-days 30",
        )


def _row(session: Session, reference: str) -> ScheduleRow:
    row = session.scalars(select(ScheduleRow).where(ScheduleRow.reference == reference.upper())).first()
    if row is None:
        known = session.scalars(select(ScheduleRow.reference)).all()
        raise not_found("schedule", reference, known, "See them: dlpx-remote schedule list.")
    return row


def _schedule(row: ScheduleRow) -> Schedule:
    options: Mapping[str, Any] = row.options
    return Schedule(
        reference=row.reference,
        source=row.source.name,
        source_reference=row.source.reference,
        kind=row.source.kind,
        action=row.action,
        cron=row.cron,
        zone=row.zone,
        retention=Retention(options["count"], options["days"]) if options else None,
        enabled=row.enabled,
        next=row.next,
        last=row.last,
        last_job=row.last_job,
        last_error=row.last_error,
        missed=row.missed,
    )
