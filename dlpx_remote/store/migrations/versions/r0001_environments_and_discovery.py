"""Environments, users, host facts, plugins, and what discovery finds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def _discovered() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.String(60), nullable=False),
        sa.Column("identity_digest", sa.String(64), nullable=False),
        sa.Column("identity", sa.JSON(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("manual", sa.Boolean(), nullable=False),
        sa.Column("first_seen", sa.DateTime(), nullable=False),
        sa.Column("last_seen", sa.DateTime(), nullable=False),
        sa.Column("job", sa.String(100), nullable=False),
    ]


def upgrade() -> None:
    """Make the first tables."""
    counters = op.create_table(
        "counters",
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_counters"),
    )
    kinds = ("environment", "host", "user", "repository", "source config")
    op.bulk_insert(counters, [{"kind": kind, "last": 0} for kind in kinds])
    op.create_table(
        "environments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.String(60), nullable=False),
        sa.Column("host_reference", sa.String(60), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("host_type", sa.String(20), nullable=False),
        sa.Column("jump", sa.JSON(), nullable=False),
        sa.Column("host_key", sa.String(20), nullable=False),
        sa.Column("fingerprint", sa.String(100), nullable=True),
        sa.Column("directory", sa.Text(), nullable=True),
        sa.Column("made_on_host", sa.JSON(), nullable=False),
        sa.Column("added", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_environments"),
        sa.UniqueConstraint("reference", name="uq_environments_reference"),
        sa.UniqueConstraint("host_reference", name="uq_environments_host_reference"),
        sa.UniqueConstraint("name", name="uq_environments_name"),
    )
    op.create_table(
        "environment_users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.String(60), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        sa.Column("agent", sa.Boolean(), nullable=False),
        sa.Column("key_path", sa.Text(), nullable=True),
        sa.Column("passphrase_from", sa.Text(), nullable=True),
        sa.Column("password_from", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_environment_users"),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name="fk_environment_users_environment_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("reference", name="uq_environment_users_reference"),
        sa.UniqueConstraint("environment_id", "name", name="uq_environment_users_environment_id_name"),
    )
    op.create_table(
        "host_facts",
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("operating_system", sa.Text(), nullable=False),
        sa.Column("kernel", sa.Text(), nullable=False),
        sa.Column("architecture", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("uid", sa.Integer(), nullable=True),
        sa.Column("gid", sa.Integer(), nullable=True),
        sa.Column("home", sa.Text(), nullable=False),
        sa.Column("shell", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("tools", sa.JSON(), nullable=False),
        sa.Column("collected", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("environment_id", name="pk_host_facts"),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name="fk_host_facts_environment_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "plugins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identifier", sa.String(100), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("plugin_type", sa.String(20), nullable=False),
        sa.Column("host_types", sa.JSON(), nullable=False),
        sa.Column("build_number", sa.String(100), nullable=False),
        sa.Column("external_version", sa.Text(), nullable=False),
        sa.Column("manual_discovery", sa.Boolean(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("operations", sa.JSON(), nullable=False),
        sa.Column("added", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_plugins"),
        sa.UniqueConstraint("identifier", name="uq_plugins_identifier"),
        sa.UniqueConstraint("name", name="uq_plugins_name"),
    )
    op.create_table(
        "repositories",
        *_discovered(),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("plugin_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repositories"),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name="fk_repositories_environment_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["plugin_id"], ["plugins.id"], name="fk_repositories_plugin_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("reference", name="uq_repositories_reference"),
        sa.UniqueConstraint(
            "environment_id",
            "plugin_id",
            "identity_digest",
            name="uq_repositories_environment_id_plugin_id_identity_digest",
        ),
    )
    op.create_table(
        "source_configs",
        *_discovered(),
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_source_configs"),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name="fk_source_configs_repository_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("reference", name="uq_source_configs_reference"),
        sa.UniqueConstraint(
            "repository_id", "identity_digest", name="uq_source_configs_repository_id_identity_digest"
        ),
    )
