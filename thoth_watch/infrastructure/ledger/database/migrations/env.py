"""Alembic's entry point: runs the migrations on the connection that `upgrade` passes."""

from __future__ import annotations

from alembic import context

from thoth_watch.infrastructure.ledger.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # all migrations run in the caller's transaction
    render_as_batch=True,  # SQLite alters tables by copying them
)
with context.begin_transaction():
    context.run_migrations()
