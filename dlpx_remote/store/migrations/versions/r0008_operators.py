"""Named credentials, private keys from elsewhere, events for a webhook, and who asked for a status."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Make the tables and columns."""
    op.create_table(
        "credentials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("username", sa.String(255), nullable=False),
        sa.Column("username_from", sa.Text(), nullable=True),
        sa.Column("secret_from", sa.Text(), nullable=False),
        sa.Column("public_part", sa.Text(), nullable=True),
        sa.Column("added", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.UniqueConstraint("name", name="uq_credentials_name"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identifier", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next", sa.DateTime(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("identifier", name="uq_outbox_identifier"),
    )
    op.create_index("ix_outbox_next", "outbox", ["next"])
    op.add_column("environment_users", sa.Column("key_from", sa.Text(), nullable=True))
    op.add_column("status_history", sa.Column("asked_by", sa.String(60), nullable=False, server_default=""))
