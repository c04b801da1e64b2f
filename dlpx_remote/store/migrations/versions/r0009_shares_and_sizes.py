"""What jobs share with one another, and how large a plugin said that a dSource or VDB is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Make the table and columns."""
    op.create_table(
        "job_shares",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(400), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_job_shares"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_shares_job_id", ondelete="CASCADE"),
    )
    op.add_column("sources", sa.Column("size", sa.BigInteger(), nullable=True))
    op.add_column("sources", sa.Column("size_time", sa.DateTime(), nullable=True))
