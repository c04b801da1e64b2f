"""Events on their way to the webhook: put in with what they tell of, taken out by workers.

An event is written in the same transaction as what happened, so none is lost by a crash and none is told that
did not happen. Nothing is written while no webhook is configured.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from dlpx_remote.redaction import redact
from dlpx_remote.store.database import Store
from dlpx_remote.store.models import SettingRow
from dlpx_remote.store.operator_models import OutboxRow

WEBHOOK = "events.webhook"
"""The setting that says where events go."""
MOST = 10_000
"""Events that are kept; beyond, the oldest are dropped."""
_LEASE = timedelta(minutes=2)  # for the one who takes an event; whoever dies meanwhile leaves it to others


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        identifier: the same however often the event is sent.
        kind: ``job.started``, ``job.ended``, ``status.changed``, ``host.rebooted``, ``schedule.missed``.
        time: when, in UTC.
        details: what, plain JSON.
        attempts: how often it was tried to send it, this time included.
    """

    identifier: str
    kind: str
    time: datetime
    details: Mapping[str, Any]
    attempts: int


def put(session: Session, kind: str, details: Mapping[str, Any]) -> None:
    """Have the webhook told, if there is one, once the transaction is committed."""
    if session.get(SettingRow, WEBHOOK) is None:
        return
    now = datetime.now(UTC)
    session.add(
        OutboxRow(
            identifier=str(uuid.uuid4()),
            kind=kind,
            time=now,
            details=_redacted(details),
            attempts=0,
            next=now,
            error="",
        )
    )


class Outbox:
    """The events in the state. Safe for use from several processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, kind: str, details: Mapping[str, Any]) -> None:
        """Have the webhook told of something that is in no other transaction."""
        with self._store.write() as session:
            put(session, kind, details)

    def take(self, now: datetime) -> Event | None:
        """The next event that is due; nobody else gets it for two minutes."""
        with self._store.read() as session:
            due = select(OutboxRow.id).where(OutboxRow.next <= now).order_by(OutboxRow.id).limit(1)
            if session.scalars(due).first() is None:
                return None
        with self._store.write() as session:
            row = session.scalars(
                select(OutboxRow).where(OutboxRow.next <= now).order_by(OutboxRow.id).limit(1)
            ).first()
            if row is None:
                return None
            row.attempts += 1
            row.next = now + _LEASE
            return Event(row.identifier, row.kind, row.time, dict(row.details), row.attempts)

    def sent(self, identifier: str) -> None:
        """The receiver has it, or it is given up."""
        with self._store.write() as session:
            session.execute(delete(OutboxRow).where(OutboxRow.identifier == identifier))

    def failed(self, identifier: str, again: datetime, error: str) -> None:
        """It is to be tried again."""
        with self._store.write() as session:
            session.execute(
                update(OutboxRow)
                .where(OutboxRow.identifier == identifier)
                .values(next=again, error=redact(error))
            )

    def waiting(self) -> tuple[int, str]:
        """How many there are, and why the last attempt of the oldest failed."""
        with self._store.read() as session:
            number = session.scalars(select(func.count()).select_from(OutboxRow)).one()
            error = session.scalars(select(OutboxRow.error).order_by(OutboxRow.id).limit(1)).first()
            return number, error or ""

    def trim(self) -> int:
        """Drop the oldest where there are too many; how many."""
        with self._store.write() as session:
            number = session.scalars(select(func.count()).select_from(OutboxRow)).one()
            if number <= MOST:
                return 0
            oldest = select(OutboxRow.id).order_by(OutboxRow.id).limit(number - MOST)
            session.execute(delete(OutboxRow).where(OutboxRow.id.in_(oldest)))
            return number - MOST

    def clear(self) -> None:
        """Forget all of them."""
        with self._store.write() as session:
            session.execute(delete(OutboxRow))


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value
