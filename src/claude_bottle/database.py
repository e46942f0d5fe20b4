"""A small SQLite file in WAL mode, which any number of processes of this user share.

Every change is one transaction. The file's `user_version` says which version of its tables it has.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.errors import HostNotReady, NoSpace, PyroError
from pyro_mcp.host.files import locked

_BUSY_SECONDS = 10.0
_LOCK_SECONDS = 30.0


Version = tuple[str, ...]
"""The statements that lead from one version of the tables to the next."""


class Database:
    """A connection to the database at `path`, for any thread. Raises `PyroError` for every failure.

    `versions[n]` leads from version n of the tables to n+1. In errors, `what` names the database, and `loses`
    names what is lost when the file is removed.
    """

    def __init__(self, path: Path, versions: Sequence[Version], *, what: str, loses: str) -> None:
        self._lock = threading.RLock()
        self.path, self._versions, self._what, self._loses = path, tuple(versions), what, loses
        with self._own_errors():
            if not path.exists():  # a touch would look like a change to those who watch the file
                path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection within one writing transaction; an exception in the block undoes all of it."""
        with self._lock, self._own_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows that a query finds."""
        with self._lock, self._own_errors():
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection, which those who watch the file notice."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        if self._connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            # Two processes that change the mode at once do not wait for each other: sqlite.org/wal.html
            with locked(self.path.with_suffix(".lock"), deadline_seconds=_LOCK_SECONDS, what=self._what):
                self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if self._version() != len(self._versions):
            self._upgrade()

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _upgrade(self) -> None:
        with self.transaction() as connection:
            version = self._version()
            if version > len(self._versions):
                raise HostNotReady(
                    f"{self.path} was written by a newer version of claude-bottle",
                    hint=f"use that version; or stop all bottles and remove the file, which forgets {self._loses}",
                )
            for statements in self._versions[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(self._versions)}")

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._own_error(error) from error

    def _own_error(self, error: sqlite3.Error) -> PyroError:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            return NoSpace(f"the disk that holds {self.path} is full", hint="free some space and try again")
        return HostNotReady(
            f"{self._what} {self.path} cannot be used: {error}",
            hint=f"try again; if it is damaged, stop all bottles and remove it, which forgets {self._loses}",
        )
