"""The tables of what happens by the clock: schedules, turns, reboots of hosts, and status history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from dlpx_remote.store.models import Base, UtcDateTime
from dlpx_remote.store.source_models import SourceRow


class ScheduleRow(Base):
    """Something that is to be done with a dSource or VDB again and again."""

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(String(60), unique=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"))
    action: Mapped[str] = mapped_column(String(20))
    cron: Mapped[str] = mapped_column(String(200))
    zone: Mapped[str] = mapped_column(String(100))
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    enabled: Mapped[bool]
    next: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    last: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_job: Mapped[str | None] = mapped_column(String(60))
    last_error: Mapped[str | None] = mapped_column(Text)
    missed: Mapped[int]
    """Runs that nobody was there to begin."""

    source: Mapped[SourceRow] = relationship()


class TurnRow(Base):
    """When something is due that has an interval; whoever moves ``next`` on does it."""

    __tablename__ = "turns"

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    next: Mapped[datetime] = mapped_column(UtcDateTime)


class BootRow(Base):
    """Which boot of a host was seen last, and what is to come up again after another one."""

    __tablename__ = "boots"

    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True
    )
    boot: Mapped[str] = mapped_column(String(64))
    noticed: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the reboot was noticed whose consequences are being mended; None when all is up."""
    pending: Mapped[dict[str, Any]] = mapped_column(JSON)
    """References of sources that are to come up, each with the job that tries it or None."""


class StatusHistoryRow(Base):
    """What a check of a source's status found."""

    __tablename__ = "status_history"

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"), index=True)
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[str] = mapped_column(String(20))
    """``ACTIVE``, ``INACTIVE`` or ``UNKNOWN``."""
    error: Mapped[str] = mapped_column(Text)
    asked_by: Mapped[str] = mapped_column(String(60), server_default="")
    """The schedule that asked; empty where a person did."""
