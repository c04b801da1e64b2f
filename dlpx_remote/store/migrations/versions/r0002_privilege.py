"""How users of an environment become root; those that were there before use sudo, without a password."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Add the setting.

    Column by column: making the table anew, as SQLite needs it for other changes, would delete what hangs on
    its rows.
    """
    op.add_column("environments", sa.Column("privilege", sa.Text(), nullable=False, server_default="sudo"))
    op.add_column("environments", sa.Column("privilege_password_from", sa.Text(), nullable=True))
