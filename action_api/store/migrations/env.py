"""Runs the migrations on the connection that action_api.store.database has opened and locked."""

from __future__ import annotations

from alembic import context

from action_api.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table only by copying it
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
