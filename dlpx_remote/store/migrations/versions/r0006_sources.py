"""DSources and VDBs, their snapshots and their hooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"


def _reference(table: str, column: str, to: str, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}", ondelete=ondelete)


def _script() -> list[sa.Column[object]]:
    return [
        sa.Column("interpreter", sa.String(20), nullable=False),
        sa.Column("login_shell", sa.Boolean(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("timeout", sa.Integer(), nullable=True),
    ]


def upgrade() -> None:
    """Make the tables."""
    counters = sa.table("counters", sa.column("kind", sa.String), sa.column("last", sa.Integer))
    op.bulk_insert(counters, [{"kind": kind, "last": 0} for kind in ("dsource", "vdb", "snapshot")])
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.String(60), nullable=False),
        sa.Column("guid", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("plugin_id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("source_config_id", sa.Integer(), nullable=True),
        sa.Column("staging_environment_id", sa.Integer(), nullable=True),
        sa.Column("staging_user_id", sa.Integer(), nullable=True),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("current", sa.JSON(), nullable=False),
        sa.Column("previous", sa.JSON(), nullable=True),
        sa.Column("retired", sa.JSON(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("interval", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("status_time", sa.DateTime(), nullable=True),
        sa.Column("job", sa.String(100), nullable=False),
        sa.Column("added", sa.DateTime(), nullable=False),
        sa.Column("changed", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        _reference("sources", "plugin_id", "plugins"),
        _reference("sources", "repository_id", "repositories"),
        _reference("sources", "environment_id", "environments"),
        _reference("sources", "user_id", "environment_users"),
        _reference("sources", "source_config_id", "source_configs"),
        _reference("sources", "staging_environment_id", "environments"),
        _reference("sources", "staging_user_id", "environment_users"),
        sa.UniqueConstraint("reference", name="uq_sources_reference"),
        sa.UniqueConstraint("guid", name="uq_sources_guid"),
        sa.UniqueConstraint("name", name="uq_sources_name"),
    )
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.String(60), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("source_volume", sa.String(100), nullable=False),
        sa.Column("parent", sa.String(60), nullable=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=True),
        sa.Column("value", sa.JSON(), nullable=True),
        sa.Column("job", sa.String(100), nullable=False),
        sa.Column("taken", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        _reference("snapshots", "source_id", "sources", "CASCADE"),
        sa.UniqueConstraint("reference", name="uq_snapshots_reference"),
    )
    op.create_table(
        "hooks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("template", sa.String(100), nullable=True),
        *_script(),
        sa.PrimaryKeyConstraint("id", name="pk_hooks"),
        _reference("hooks", "source_id", "sources", "CASCADE"),
        sa.UniqueConstraint("source_id", "name", name="uq_hooks_source_id_name"),
    )
    op.create_table(
        "hook_templates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        *_script(),
        sa.Column("changed", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_hook_templates"),
        sa.UniqueConstraint("name", name="uq_hook_templates_name"),
    )
