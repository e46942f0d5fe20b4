"""Alembic's environment: the migrations run on the connection that `moot.server.database.schema` gives."""

from __future__ import annotations

from alembic import context

from moot.server.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
