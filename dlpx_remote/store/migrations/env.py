"""Runs the migrations on the connection and in the transaction that the store hands over."""

from __future__ import annotations

from alembic import context

from dlpx_remote.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite can only alter a table by rebuilding it
)
with context.begin_transaction():
    context.run_migrations()
