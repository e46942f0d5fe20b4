"""Connections to SQLite and PostgreSQL with the settings that durability needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from pyro_mcp.errors import InvalidRequest

_READERS = 8
_CONNECT_SECONDS = 10
_FORM = "give postgresql://user@host/name; in a password, write special characters as % and two hexadecimal digits"
_POSTGRESQL_SETTINGS = {
    # A commit is on the disk when it returns, whatever the configuration of the database says.
    "synchronous_commit": "on",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}
_WRITE_LOCK = 0x6D6F6F74
"""The number of the advisory lock that PostgreSQL's writers of all server processes take."""


def engines(place: str | Path) -> tuple[Engine, Engine]:
    """Return the engine for reading and the one for writing: of the URL of PostgreSQL, or of a file of SQLite.

    Raises `InvalidRequest` for a URL of another database.
    """
    if isinstance(place, Path):
        return _sqlite(URL.create("sqlite", database=str(place)))
    return _postgresql(_parsed(place).set(drivername="postgresql+psycopg"))


def driver_url(url: str) -> str:
    """Return the URL of PostgreSQL as its own library reads it. Raises `InvalidRequest`."""
    return _parsed(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidRequest("the database URL is not one", hint=_FORM) from None
    if parsed.get_backend_name() == "sqlite":
        raise InvalidRequest("SQLite has no URL here", hint="--data-dir names the folder of its file")
    if parsed.get_backend_name() != "postgresql":
        raise InvalidRequest(f"the space server does not use {parsed.get_backend_name()[:50]!r}", hint=_FORM)
    return parsed


def _sqlite(url: URL) -> tuple[Engine, Engine]:
    reading = create_engine(url, pool_size=_READERS, max_overflow=0, connect_args={"check_same_thread": False})
    writing = create_engine(url, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False})

    def settings(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions by itself: each begins below.
        connection.isolation_level = None
        cursor = connection.cursor()
        # FULL: a commit is on the disk when it returns, also in WAL mode.
        for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    for engine in (reading, writing):
        event.listen(engine, "connect", settings)
    event.listen(reading, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    event.listen(writing, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return reading, writing


def _postgresql(url: URL) -> tuple[Engine, Engine]:
    # A reader's statements see one state of the database, as they do in SQLite.
    driver: dict[str, Any] = {"client_encoding": "utf8", "connect_timeout": _CONNECT_SECONDS}
    options: dict[str, Any] = {"pool_pre_ping": True, "connect_args": driver}
    reading = create_engine(url, pool_size=_READERS, max_overflow=0, isolation_level="REPEATABLE READ", **options)
    writing = create_engine(url, pool_size=1, max_overflow=1, isolation_level="READ COMMITTED", **options)

    def settings(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for name, value in _POSTGRESQL_SETTINGS.items():
            cursor.execute(f"SET SESSION {name} = '{value}'")
        cursor.close()
        connection.commit()

    for engine in (reading, writing):
        event.listen(engine, "connect", settings)

    @event.listens_for(writing, "begin")
    def lock(connection: Connection) -> None:
        # One writer at a time: sequence numbers become visible in their order, and there are no deadlocks.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")

    return reading, writing
