"""Connections to SQLite and PostgreSQL with the settings that durability needs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from pyro_mcp.errors import InvalidRequest

_READERS = 8
_WRITE_LOCK = 0x6D6F6F74
"""The number of the advisory lock that PostgreSQL's writers of all server processes take."""


def engines(url: str) -> tuple[Engine, Engine]:
    """Return the engine for reading and the one for writing. Raises `InvalidRequest` for a URL of another database."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidRequest("the database URL is not one", hint="postgresql://user@host/name") from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(url)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql(str(parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)))
    raise InvalidRequest(
        f"the space server does not use {parsed.get_backend_name()}", hint="give postgresql://user@host/name"
    )


def _sqlite(url: str) -> tuple[Engine, Engine]:
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


def _postgresql(url: str) -> tuple[Engine, Engine]:
    # A reader's statements see one state of the database, as they do in SQLite.
    options: dict[str, Any] = {"pool_pre_ping": True, "connect_args": {"client_encoding": "utf8"}}
    reading = create_engine(url, pool_size=_READERS, max_overflow=0, isolation_level="REPEATABLE READ", **options)
    writing = create_engine(url, pool_size=1, max_overflow=1, **options)

    @event.listens_for(writing, "begin")
    def lock(connection: Connection) -> None:
        # One writer at a time: sequence numbers become visible in their order, and there are no deadlocks.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")

    return reading, writing
