"""Schedules, turns, reboots and the history of status checks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"


def _reference(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def upgrade() -> None:
    """Make the tables."""
    counters = sa.table("counters", sa.column("kind", sa.String), sa.column("last", sa.Integer))
    op.bulk_insert(counters, [{"kind": "schedule", "last": 0}])
    op.create_table(
        "schedules",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.String(60), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("cron", sa.String(200), nullable=False),
        sa.Column("zone", sa.String(100), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("next", sa.DateTime(), nullable=False),
        sa.Column("last", sa.DateTime(), nullable=True),
        sa.Column("last_job", sa.String(60), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("missed", sa.Integer(), nullable=False),
        _reference("schedules", "source_id", "sources"),
        sa.PrimaryKeyConstraint("id", name="pk_schedules"),
        sa.UniqueConstraint("reference", name="uq_schedules_reference"),
    )
    op.create_index("ix_schedules_next", "schedules", ["next"])
    op.create_table(
        "turns",
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("next", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_turns"),
    )
    op.create_table(
        "boots",
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("boot", sa.String(64), nullable=False),
        sa.Column("noticed", sa.DateTime(), nullable=True),
        sa.Column("pending", sa.JSON(), nullable=False),
        _reference("boots", "environment_id", "environments"),
        sa.PrimaryKeyConstraint("environment_id", name="pk_boots"),
    )
    op.create_table(
        "status_history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        _reference("status_history", "source_id", "sources"),
        sa.PrimaryKeyConstraint("id", name="pk_status_history"),
    )
    op.create_index("ix_status_history_source_id", "status_history", ["source_id"])
