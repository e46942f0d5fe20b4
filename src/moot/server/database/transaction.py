"""The transactions that functions of the server get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable, Row
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.schema import Table

from moot.server import clock
from moot.server.database.changes import Change
from moot.server.settings import Limits

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass
class Transaction:
    """One function's part of a database transaction; the whole of it is committed, or nothing."""

    connection: Connection
    now: str = field(default_factory=clock.now)
    changes: list[Change] = field(default_factory=list)
    acknowledge_seconds: float = Limits.acknowledge_seconds
    """The time after which a message that is queued now is dead."""

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        return self.connection.execute(statement, parameters)

    def first(self, statement: Executable) -> Row[Any] | None:
        """Return the first row, or None."""
        return self.connection.execute(statement).first()

    def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        return self.connection.execute(statement).all()

    def insert_if_new(self, table: Table, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> int:
        """Insert rows, leaving out those whose unique columns are taken; return how many were inserted."""
        make = postgresql.insert if self.is_postgresql else sqlite.insert
        statement = make(table).values(values).on_conflict_do_nothing().returning(*table.primary_key)
        return len(self.connection.execute(statement).all())

    def announce(self, change: Change) -> None:
        """Let live connections, of all server processes, learn of this change after the commit."""
        if change not in self.changes:
            self.changes.append(change)

    @property
    def is_postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"
