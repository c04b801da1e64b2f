"""How Windows hosts are reached; those that were added before get the defaults."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Add the settings, column by column (see revision 0002)."""
    op.add_column("environments", sa.Column("scheme", sa.String(10), nullable=True))
    op.add_column("environments", sa.Column("login", sa.String(20), nullable=True))
    op.add_column("environments", sa.Column("ca_file", sa.Text(), nullable=True))
    op.add_column("environments", sa.Column("unencrypted", sa.Boolean(), nullable=True))
    op.add_column("environment_users", sa.Column("certificate_path", sa.Text(), nullable=True))
    op.execute(
        "UPDATE environments SET scheme = 'https', login = 'ntlm', unencrypted = false "
        "WHERE host_type = 'WINDOWS'"
    )
