"""The migrations make exactly the tables that the server uses."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from moot.server.database import schema
from moot.server.database.database import Database
from moot.server.database.tables import metadata
from moot.server.database.transaction import Transaction

_SEARCH = "events_search"


def test_the_migrations_make_the_tables_of_the_server(database: Database) -> None:
    def differences(tx: Transaction) -> list[object]:
        ours = {"include_object": lambda _object, name, *_more: not str(name).startswith(_SEARCH)}
        context = MigrationContext.configure(tx.connection, opts={"compare_server_default": False, **ours})
        return list(compare_metadata(context, metadata))

    assert database.read(differences) == []


def test_an_upgrade_is_made_once(database: Database) -> None:
    database.upgrade()

    assert database.schema_version() == schema.newest() != ""
