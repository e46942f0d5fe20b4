"""One database: its readers, its writer, and the listeners for changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from moot.server.database import schema
from moot.server.database.changes import Change
from moot.server.database.engines import engines
from moot.server.database.transaction import Transaction
from moot.server.database.writer import Writer
from moot.server.errors import Unavailable

Result = TypeVar("Result")
Listener = Callable[[Sequence[Change]], None]


class Database:
    """A database of SQLite or PostgreSQL. Its methods may be called from any thread; `close` ends it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._listeners: list[Listener] = []
        self._reading, self._writing = engines(url)
        self._writer = Writer(self._writing, self._tell)

    @property
    def is_postgresql(self) -> bool:
        return self._reading.dialect.name == "postgresql"

    def upgrade(self) -> None:
        """Bring the schema to the newest version."""
        schema.upgrade(self._writing)

    def schema_version(self) -> str:
        """Return the version of the schema in the database; "" when there is none."""
        return self.read(lambda tx: schema.version(tx.connection))

    def read(self, work: Callable[[Transaction], Result]) -> Result:
        """Run a function that only reads, on one state of the database; return its result."""
        try:
            with self._reading.begin() as connection:
                return work(Transaction(connection))
        except OperationalError as error:
            raise Unavailable(f"the database cannot be read: {error.orig}", hint="see the server's log") from error
        except NoConnection as error:
            raise Unavailable("the server is overloaded", hint="try again in a few seconds") from error

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Run a function that writes; return its result after its changes are committed and on the disk."""
        return self._writer.submit(work).result()

    def submit(self, work: Callable[[Transaction], Result]) -> Future[Result]:
        """Queue a function that writes, and return at once."""
        return self._writer.submit(work)

    def listen(self, listener: Listener) -> None:
        """Call a function after each commit that announced changes, in the writer's thread."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Commit what is queued, then close all connections."""
        self._writer.close()
        self._reading.dispose()
        self._writing.dispose()

    def _tell(self, changes: Sequence[Change]) -> None:
        for listener in self._listeners:
            listener(changes)
