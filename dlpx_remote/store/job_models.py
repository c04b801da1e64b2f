"""The tables of jobs: what people and other processes see of them. Types and times as in ``models``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dlpx_remote.store.models import Base, UtcDateTime


class ExecutorRow(Base):
    """A process that runs jobs, or did; who it is on its machine, and a count that grows while it lives."""

    __tablename__ = "executors"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host_name: Mapped[str] = mapped_column(String(255))
    boot: Mapped[str] = mapped_column(String(64))
    """The boot and the process id namespace: where ``process`` means something."""
    process: Mapped[int] = mapped_column(BigInteger)
    started_ticks: Mapped[int] = mapped_column(BigInteger)
    """When the process began, in clock ticks since the boot: tells it from a later one of the same number."""
    worker: Mapped[bool]
    beats: Mapped[int] = mapped_column(BigInteger)
    """Grows every few seconds; others watch it by their own clock, so that no clock is shared."""
    began: Mapped[datetime] = mapped_column(UtcDateTime)


class JobRow(Base):
    """One run of an engine operation."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(String(60), unique=True)
    workflow_id: Mapped[str] = mapped_column(String(100), unique=True)
    """The name of the run in the journal; holds a random part, so that no older journal can answer for it."""
    operation: Mapped[str] = mapped_column(String(100))
    object: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    locks: Mapped[list[str]] = mapped_column(JSON)
    hosts: Mapped[list[str]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(20), index=True)
    executor: Mapped[str | None] = mapped_column(String(40), index=True)
    """The process that runs it or is to run it; none while any worker may take it."""
    attempt: Mapped[int]
    """Grows with every process that takes the job over; whoever holds an older number writes nothing more."""
    version: Mapped[str] = mapped_column(String(60))
    """The version of dlpx-remote that began it."""
    expected_steps: Mapped[int | None]
    cancel_requested: Mapped[datetime | None] = mapped_column(UtcDateTime)
    result: Mapped[str | None] = mapped_column(Text)
    """JSON text."""
    error_message: Mapped[str | None] = mapped_column(Text)
    error_action: Mapped[str | None] = mapped_column(Text)
    error_output: Mapped[str | None] = mapped_column(Text)
    output_bytes: Mapped[int]
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    started: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobStepRow(Base):
    """One step of a job."""

    __tablename__ = "job_steps"
    __table_args__ = (UniqueConstraint("job_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    number: Mapped[int]
    title: Mapped[str] = mapped_column(Text)
    once: Mapped[bool]
    undoing: Mapped[bool]
    state: Mapped[str] = mapped_column(String(20))
    outcome: Mapped[str | None] = mapped_column(Text)
    """JSON text: what the step gave back or raised."""
    error_message: Mapped[str | None] = mapped_column(Text)
    started: Mapped[datetime] = mapped_column(UtcDateTime)
    finished: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobEventRow(Base):
    """A line of a job's output."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    step: Mapped[int | None]
    line: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class JobLockRow(Base):
    """What a job holds for itself until it ends: a data set, a mount path."""

    __tablename__ = "job_locks"

    name: Mapped[str] = mapped_column(String(400), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)


class JobShareRow(Base):
    """What a job needs, beside others that need it in the same way: that nobody removes it meanwhile.

    Written when the job is asked for; it counts as held while the job runs.
    """

    __tablename__ = "job_shares"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(400), primary_key=True)
