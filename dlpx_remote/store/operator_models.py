"""The tables of what operators set up beside environments: named credentials, and events on their way out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from dlpx_remote.store.models import Base, UtcDateTime


class CredentialRow(Base):
    """A password or key pair under a name. The ``*_from`` columns say where something is."""

    __tablename__ = "credentials"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    """``password`` or ``keyPair``."""
    username: Mapped[str] = mapped_column(String(255))
    username_from: Mapped[str | None] = mapped_column(Text)
    secret_from: Mapped[str] = mapped_column(Text)
    public_part: Mapped[str | None] = mapped_column(Text)
    """The public half of a key pair, as OpenSSH writes it."""
    added: Mapped[datetime] = mapped_column(UtcDateTime)


class OutboxRow(Base):
    """An event that the webhook has not been told yet."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True)
    identifier: Mapped[str] = mapped_column(String(36), unique=True)
    kind: Mapped[str] = mapped_column(String(40))
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    attempts: Mapped[int]
    next: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    error: Mapped[str] = mapped_column(Text)
    """Why the last attempt failed."""
