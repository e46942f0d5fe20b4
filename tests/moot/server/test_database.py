"""Writes share commits, fail alone, and are on the disk when they return."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert, select, text

from moot.server.database import tables
from moot.server.database.changes import (
    AccessChanged,
    Anything,
    Change,
    EventsAdded,
    ParticipantChanged,
    Released,
    SentAgain,
    decoded,
    encoded,
)
from moot.server.database.database import Database
from moot.server.database.transaction import Transaction
from moot.server.errors import DatabaseFailed, Unavailable
from pyro_mcp.errors import InvalidRequest
from tests.moot.server.postgresql import new_database


def new_tenant(tx: Transaction, tenant_id: str) -> None:
    tx.execute(insert(tables.tenants).values(tenant_id=tenant_id, name=tenant_id, created_at=tx.now))


def tenants_of(database: Database) -> set[str]:
    return database.read(lambda tx: {row.tenant_id for row in tx.rows(select(tables.tenants.c.tenant_id))})


def test_a_write_that_fails_undoes_its_own_part_alone(database: Database) -> None:
    begin = threading.Event()

    def slow(_tx: Transaction) -> None:
        begin.wait(10)

    def half(tx: Transaction) -> None:
        new_tenant(tx, "half")
        raise InvalidRequest("no")

    futures = [database.submit(slow)]
    futures += [database.submit(lambda tx: new_tenant(tx, "first")), database.submit(half)]
    futures += [database.submit(lambda tx: new_tenant(tx, "last"))]
    begin.set()

    futures[1].result(10)
    futures[3].result(10)
    with pytest.raises(InvalidRequest):
        futures[2].result(10)
    assert tenants_of(database) == {"first", "last"}


def test_a_change_is_announced_once_and_after_its_commit(database: Database) -> None:
    seen: list[tuple[Change, set[str]]] = []
    database.listen(lambda changes: seen.extend((one, tenants_of(database)) for one in changes))

    def write(tx: Transaction) -> None:
        new_tenant(tx, "one")
        tx.announce(EventsAdded(1))
        tx.announce(EventsAdded(1))

    database.write(write)
    database.write(lambda tx: new_tenant(tx, "two"))

    database.close()
    assert seen == [(EventsAdded(1), {"one"})]


def test_a_write_that_fails_announces_nothing(database: Database) -> None:
    seen: list[Change] = []
    database.listen(seen.extend)

    def write(tx: Transaction) -> None:
        tx.announce(EventsAdded(1))
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        database.write(write)
    database.close()
    assert seen == []


def test_commits_are_flushed_to_the_disk(sqlite: Database) -> None:
    def pragmas(tx: Transaction) -> list[object]:
        return [tx.connection.execute(text(f"PRAGMA {one}")).scalar() for one in ("journal_mode", "synchronous")]

    assert sqlite.write(pragmas) == ["wal", 2]


def test_a_closed_database_takes_no_write(database: Database) -> None:
    database.close()

    with pytest.raises(Unavailable):
        database.write(lambda _tx: None)


def test_a_database_that_is_locked_for_long_refuses_and_recovers(sqlite: Database, tmp_path: Path) -> None:
    database = sqlite
    database.write(lambda tx: tx.execute(text("PRAGMA busy_timeout=1")))
    other = sqlite3.connect(tmp_path / "space.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable, match="locked"):
        database.write(lambda tx: new_tenant(tx, "one"))
    other.execute("ROLLBACK")
    other.close()
    database.write(lambda tx: new_tenant(tx, "two"))

    assert tenants_of(database) == {"two"}


def test_the_writer_goes_on_after_an_exit_within_a_write(sqlite: Database) -> None:
    def leave(_tx: Transaction) -> None:
        raise SystemExit

    with pytest.raises(Unavailable, match="SystemExit"):
        sqlite.submit(leave).result(10)
    sqlite.submit(lambda tx: new_tenant(tx, "one")).result(10)

    assert tenants_of(sqlite) == {"one"}


def test_the_writer_goes_on_after_a_listener_has_failed(sqlite: Database) -> None:
    def fail(_changes: Sequence[Change]) -> None:
        raise ValueError

    sqlite.listen(fail)
    sqlite.submit(lambda tx: tx.announce(EventsAdded(1))).result(10)
    sqlite.submit(lambda tx: new_tenant(tx, "one")).result(10)

    assert tenants_of(sqlite) == {"one"}


@pytest.mark.parametrize(
    "url", ["mysql://host/name", "nothing", "", "sqlite:////tmp/space.db", "postgresql://user@host:abc/x"]
)
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        Database(url)


@pytest.mark.parametrize(
    "change",
    [
        EventsAdded(1),
        ParticipantChanged(1, "agt_1"),
        SentAgain(1, "agt_1"),
        AccessChanged("agt_1"),
        Released("agt_1"),
        Anything(),
    ],
)
def test_a_change_reaches_another_server_process_as_it_is(change: Change) -> None:
    assert decoded(encoded(change)) == change


@pytest.mark.parametrize("text", ['["space", 1, ""]', '["EventsAdded"]'])
def test_an_unknown_change_may_be_anything(text: str) -> None:
    assert decoded(text) == Anything()


def test_commits_of_postgresql_are_flushed_and_waits_have_an_end(postgresql: str) -> None:
    url = new_database(postgresql)
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        for setting in ("synchronous_commit = off", "default_transaction_isolation = 'serializable'"):
            connection.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    wanted = ("synchronous_commit", "lock_timeout", "statement_timeout", "transaction_isolation")

    def settings(tx: Transaction) -> list[object]:
        return [tx.connection.execute(text(f"SHOW {one}")).scalar() for one in wanted]

    with closing(Database(url)) as database:
        assert database.write(settings) == ["on", "10s", "30s", "read committed"]
        assert database.read(settings) == ["on", "10s", "30s", "repeatable read"]


def test_a_statement_of_postgresql_that_takes_too_long_fails_alone(postgresql: str) -> None:
    with closing(Database(new_database(postgresql))) as database:
        database.write(lambda tx: tx.execute(text("SET SESSION statement_timeout = '50ms'")))

        with pytest.raises(DatabaseFailed, match="timeout"):
            database.write(lambda tx: tx.execute(text("SELECT pg_sleep(5)")))
        database.write(lambda tx: new_tenant(tx, "next"))
        assert tenants_of(database) == {"next"}
