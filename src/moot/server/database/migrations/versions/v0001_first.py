"""The first schema: all tables, and the index for full-text search."""

from __future__ import annotations

from alembic import op

from moot.server.database.migrations.first_tables import metadata

revision = "0001"
down_revision = None

_SQLITE = """
CREATE VIRTUAL TABLE events_search USING fts5(text, content='events', content_rowid='event_key');
CREATE TRIGGER events_search_insert AFTER INSERT ON events BEGIN
    INSERT INTO events_search(rowid, text) VALUES (new.event_key, new.text);
END;
CREATE TRIGGER events_search_delete AFTER DELETE ON events BEGIN
    INSERT INTO events_search(events_search, rowid, text) VALUES ('delete', old.event_key, old.text);
END;
"""
_POSTGRESQL = "CREATE INDEX events_search ON events USING gin (to_tsvector('simple', text))"


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection)
    if connection.dialect.name == "postgresql":
        op.execute(_POSTGRESQL)
    else:
        for statement in _SQLITE.strip().split(";\n"):
            if statement.strip() and not statement.strip().startswith("END"):
                op.execute(statement + (";\nEND" if "BEGIN" in statement else ""))
