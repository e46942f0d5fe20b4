"""Installed teams, invitations, prompt rules, and what people have allowed programs."""

from __future__ import annotations

from alembic import op

from moot.server.database.migrations.second_tables import NEW, metadata

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=NEW)
