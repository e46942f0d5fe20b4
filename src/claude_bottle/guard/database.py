"""The database of all guards of this user, and of the commands of persons: one SQLite file in WAL mode.

Each part of the guard has its own tables, and a `Schema` that brings them from one version to the next. Every change is
one transaction. A guard keeps its connection open; a command closes it, which wakes the guards (`Changes`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import HostNotReady, NoSpace, PyroError
from pyro_mcp.host.files import locked, private_directory, state_home

_BUSY_SECONDS = 10.0
_LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class Schema:
    """The tables of one part: `versions[n]` has the statements that lead from version n to n+1."""

    part: str
    versions: tuple[tuple[str, ...], ...]


def guard_folder() -> Path:
    """Return the folder of the database, made if missing; the guards watch it, so nothing else belongs in it."""
    return private_directory(state_home("claude-bottle") / "guard")


def guard_database() -> Path:
    """Return the path of the database; it need not exist."""
    return guard_folder() / "guard.db"


class Database:
    """A connection to the database at `path` for one part, for any thread. Raises `PyroError` for every failure."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self._lock = threading.RLock()
        self.path = path
        with _as_own_errors(path):
            if not path.exists():  # a touch would look like a change to those who watch the file
                path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            try:
                self._prepare(schema)
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within one writing transaction; an exception in the block undoes all of it."""
        with self._lock, _as_own_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows that a query finds."""
        with self._lock, _as_own_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection, which wakes the guards."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, schema: Schema) -> None:
        if self._connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            # Two processes that change the mode at once do not wait for each other: sqlite.org/wal.html
            with locked(self.path.with_suffix(".lock"), deadline_seconds=_LOCK_SECONDS, what="the guard's database"):
                self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if self._version(schema) != len(schema.versions):
            self._upgrade(schema)

    def _version(self, schema: Schema) -> int:
        if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'versions'").fetchone():
            return 0
        row = self._connection.execute("SELECT version FROM versions WHERE part = ?", (schema.part,)).fetchone()
        return int(row[0]) if row else 0

    def _upgrade(self, schema: Schema) -> None:
        with self.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS versions (part TEXT PRIMARY KEY, version INTEGER NOT NULL)")
            version = self._version(schema)
            if version > len(schema.versions):
                raise HostNotReady(
                    f"{self.path} was written by a newer version of claude-bottle",
                    hint="use that version; or stop all bottles and remove the file, which forgets all approvals",
                )
            for statements in schema.versions[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(
                "INSERT INTO versions VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET version = excluded.version",
                (schema.part, len(schema.versions)),
            )


@contextmanager
def _as_own_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _own_error(error, path) from error


def _own_error(error: sqlite3.Error, path: Path) -> PyroError:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return NoSpace(f"the disk that holds {path} is full", hint="free some space and try again")
    return HostNotReady(
        f"the guard's database {path} cannot be used: {error}",
        hint="try again; if it is damaged, stop all bottles and remove it, which forgets all approvals",
    )
