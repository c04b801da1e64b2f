"""The tables of dSources and VDBs, their snapshots and their hooks. Nothing here is a secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from dlpx_remote.store.models import Base, UtcDateTime


class SourceRow(Base):
    """A dSource (linked source) or a VDB (virtual source)."""

    __tablename__ = "sources"

    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(String(60), unique=True)
    guid: Mapped[str] = mapped_column(String(36), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    """``dsource`` or ``vdb``."""
    name: Mapped[str] = mapped_column(String(100), unique=True)
    plugin_id: Mapped[int] = mapped_column(ForeignKey("plugins.id"))
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("environment_users.id"))
    source_config_id: Mapped[int | None] = mapped_column(ForeignKey("source_configs.id"))
    """Of a dSource, as discovered; a VDB has its own in ``current``."""
    staging_environment_id: Mapped[int | None] = mapped_column(ForeignKey("environments.id"))
    staging_user_id: Mapped[int | None] = mapped_column(ForeignKey("environment_users.id"))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    """By schema names; where the schema says that a value is secret, a reference to it."""
    state: Mapped[str] = mapped_column(String(20))
    active: Mapped[bool]
    current: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What is in force: volume, mounts, owner, source config, the snapshot that it came from."""
    previous: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """The same before the last refresh or rollback, for undoing it."""
    retired: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """The same of earlier volumes that snapshots still hang on."""
    generation: Mapped[int]
    """How many volumes it has had."""
    interval: Mapped[int]
    """Seconds between two runs of ``linked.worker``."""
    status: Mapped[str] = mapped_column(String(20))
    """What the plugin said last, ``ACTIVE`` or ``INACTIVE``; empty before it was asked."""
    status_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes, as the plugin said last; none before it was asked."""
    size_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    job: Mapped[str] = mapped_column(String(100))
    """The job that made it."""
    added: Mapped[datetime] = mapped_column(UtcDateTime)
    changed: Mapped[datetime] = mapped_column(UtcDateTime)

    snapshots: Mapped[list[SnapshotRow]] = relationship(
        back_populates="source",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="SnapshotRow.id",
    )
    hooks: Mapped[list[HookRow]] = relationship(
        back_populates="source",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="HookRow.position",
    )


class SnapshotRow(Base):
    """A kept state of a dSource or VDB."""

    __tablename__ = "snapshots"

    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(String(60), unique=True)
    """Also the name of its volume."""
    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"))
    source_volume: Mapped[str] = mapped_column(String(100))
    parent: Mapped[str | None] = mapped_column(String(60))
    """Reference of the snapshot that the state came from."""
    state: Mapped[str] = mapped_column(String(20))
    """``taking`` until the plugin has said what it is of, then ``ready``; ``deleting`` at its end."""
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """The operator's snapshot parameters."""
    value: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What the plugin returned, by schema names."""
    job: Mapped[str] = mapped_column(String(100))
    taken: Mapped[datetime] = mapped_column(UtcDateTime)

    source: Mapped[SourceRow] = relationship(back_populates="snapshots")


class HookRow(Base):
    """A script of the operator's that runs at one point of an object's engine operations."""

    __tablename__ = "hooks"
    __table_args__ = (UniqueConstraint("source_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(40))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(String(100))
    template: Mapped[str | None] = mapped_column(String(100))
    """Name of the template whose script it runs; then the rest is empty."""
    interpreter: Mapped[str] = mapped_column(String(20))
    login_shell: Mapped[bool]
    script: Mapped[str] = mapped_column(Text)
    timeout: Mapped[int | None]
    """Seconds."""

    source: Mapped[SourceRow] = relationship(back_populates="hooks")


class HookTemplateRow(Base):
    """A script that several objects' hooks run, by name."""

    __tablename__ = "hook_templates"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    interpreter: Mapped[str] = mapped_column(String(20))
    login_shell: Mapped[bool]
    script: Mapped[str] = mapped_column(Text)
    timeout: Mapped[int | None]
    changed: Mapped[datetime] = mapped_column(UtcDateTime)
