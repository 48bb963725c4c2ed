"""Alembic's environment for every service: the engine and the metadata come from fleetloop.kit.storage.database."""

from __future__ import annotations

from alembic import context

config = context.config
engine = config.attributes["engine"]

with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=config.attributes["metadata"], render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
