"""The tables. Types are those that SQLite and PostgreSQL share; times are UTC; nothing here is a secret."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: SQLite has no time zones, so it is stored without and read back with one."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Into the database: UTC, without the zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Out of the database: UTC, with the zone."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class CounterRow(Base):
    """The last number given out for one kind of reference; a number is never given out twice."""

    __tablename__ = "counters"

    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    last: Mapped[int]


class SettingRow(Base):
    """What an operator has configured for the whole engine: the pool, the NFS server."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the row: a damaged one is not acted on."""
    changed: Mapped[datetime] = mapped_column(UtcDateTime)


class LedgerRow(Base):
    """Something that exists outside the database: what is there, is to be made, or is being taken away."""

    __tablename__ = "ledger"
    __table_args__ = (UniqueConstraint("kind", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(500))
    state: Mapped[str] = mapped_column(String(20))
    parent: Mapped[str | None] = mapped_column(String(500))
    """The volume that it hangs on, by name."""
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    job: Mapped[str | None] = mapped_column(String(100))
    intended: Mapped[datetime] = mapped_column(UtcDateTime)
    changed: Mapped[datetime] = mapped_column(UtcDateTime)
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the row: a damaged one is not acted on."""


class LedgerSealRow(Base):
    """One row that holds for the whole ledger, so that a row that is lost is noticed too."""

    __tablename__ = "ledger_seal"

    id: Mapped[int] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    """How many times the ledger has been changed."""
    digest: Mapped[str] = mapped_column(String(64))
    """The digests of all rows, combined by exclusive or."""


class EnvironmentRow(Base):
    """A configured environment and the host behind it."""

    __tablename__ = "environments"

    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(String(60), unique=True)
    host_reference: Mapped[str] = mapped_column(String(60), unique=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int | None]
    host_type: Mapped[str] = mapped_column(String(20))
    jump: Mapped[list[str]] = mapped_column(JSON)
    host_key: Mapped[str] = mapped_column(String(20))
    fingerprint: Mapped[str | None] = mapped_column(String(100))
    directory: Mapped[str | None] = mapped_column(Text)
    made_on_host: Mapped[list[str]] = mapped_column(JSON)
    """Directories that the engine itself made on the host, outermost first; only these are ever removed."""
    privilege: Mapped[str] = mapped_column(Text, server_default="sudo")
    scheme: Mapped[str | None] = mapped_column(String(10))
    """Of this and the next three: Windows hosts only."""
    login: Mapped[str | None] = mapped_column(String(20))
    ca_file: Mapped[str | None] = mapped_column(Text)
    unencrypted: Mapped[bool | None]
    privilege_password_from: Mapped[str | None] = mapped_column(Text)
    added: Mapped[datetime] = mapped_column(UtcDateTime)

    users: Mapped[list[UserRow]] = relationship(
        back_populates="environment", cascade="all, delete-orphan", order_by="UserRow.id"
    )
    facts: Mapped[HostFactsRow | None] = relationship(cascade="all, delete-orphan")


class UserRow(Base):
    """A user of an environment. The ``*_from`` columns say where a secret is; they never hold one."""

    __tablename__ = "environment_users"
    __table_args__ = (UniqueConstraint("environment_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id", ondelete="CASCADE"))
    reference: Mapped[str] = mapped_column(String(60), unique=True)
    name: Mapped[str] = mapped_column(String(255))
    is_primary: Mapped[bool]
    agent: Mapped[bool]
    key_path: Mapped[str | None] = mapped_column(Text)
    passphrase_from: Mapped[str | None] = mapped_column(Text)
    password_from: Mapped[str | None] = mapped_column(Text)
    certificate_path: Mapped[str | None] = mapped_column(Text)
    key_from: Mapped[str | None] = mapped_column(Text)

    environment: Mapped[EnvironmentRow] = relationship(back_populates="users")


class HostFactsRow(Base):
    """What the last test, refresh or discovery found on a host."""

    __tablename__ = "host_facts"

    environment_id: Mapped[int] = mapped_column(
        ForeignKey("environments.id", ondelete="CASCADE"), primary_key=True
    )
    operating_system: Mapped[str] = mapped_column(Text)
    kernel: Mapped[str] = mapped_column(Text)
    architecture: Mapped[str] = mapped_column(Text)
    hostname: Mapped[str] = mapped_column(Text)
    uid: Mapped[int | None]
    gid: Mapped[int | None]
    home: Mapped[str] = mapped_column(Text)
    shell: Mapped[str] = mapped_column(Text)
    locale: Mapped[str | None] = mapped_column(Text)
    tools: Mapped[dict[str, str]] = mapped_column(JSON)
    collected: Mapped[datetime] = mapped_column(UtcDateTime)


class PluginRow(Base):
    """The build of a plugin that is in use; ``directory`` is the engine's own copy."""

    __tablename__ = "plugins"

    id: Mapped[int] = mapped_column(primary_key=True)
    identifier: Mapped[str] = mapped_column(String(100), unique=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    plugin_type: Mapped[str] = mapped_column(String(20))
    host_types: Mapped[list[str]] = mapped_column(JSON)
    build_number: Mapped[str] = mapped_column(String(100))
    external_version: Mapped[str] = mapped_column(Text)
    manual_discovery: Mapped[bool]
    directory: Mapped[str] = mapped_column(Text)
    operations: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    added: Mapped[datetime] = mapped_column(UtcDateTime)


class _Discovered:
    """The columns of what discovery finds."""

    id: Mapped[int] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(String(60), unique=True)
    identity_digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the canonical identity: what is unique, of a length that every database can index."""
    identity: Mapped[dict[str, Any]] = mapped_column(JSON)
    name: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(20))
    """``present`` or ``gone``; what is gone keeps its row and its reference."""
    manual: Mapped[bool]
    first_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    job: Mapped[str] = mapped_column(String(100))
    """The job that saw it last, or that found it gone."""


class RepositoryRow(_Discovered, Base):
    """A repository that a plugin found on an environment."""

    __tablename__ = "repositories"
    __table_args__ = (UniqueConstraint("environment_id", "plugin_id", "identity_digest"),)

    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id", ondelete="CASCADE"))
    plugin_id: Mapped[int] = mapped_column(ForeignKey("plugins.id", ondelete="CASCADE"))

    source_configs: Mapped[list[SourceConfigRow]] = relationship(
        back_populates="repository",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="SourceConfigRow.id",
    )


class SourceConfigRow(_Discovered, Base):
    """A source config of a repository, found by the plugin or added by hand (``manual``)."""

    __tablename__ = "source_configs"
    __table_args__ = (UniqueConstraint("repository_id", "identity_digest"),)

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id", ondelete="CASCADE"))

    repository: Mapped[RepositoryRow] = relationship(back_populates="source_configs")
