"""Pages of the objects of a space: the newest ones, in the order of their making."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, Table, and_, or_, select

from moot.server.database.transaction import Transaction
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import NotFound

MOST = 1000


def newest(
    tx: Transaction, room: Room, table: Table, *where: ColumnElement[bool], before: str | None = None, limit: int = MOST
) -> Sequence[Row[Any]]:
    """Return the last rows of a space, or the last before the object with this id. Raises `NotFound` for the id."""
    mine = table.c.space_key == room.key
    key: Column[Any] = next(iter(table.primary_key))
    made = table.c.created_at
    statement = select(table).where(mine, *where).order_by(made.desc(), key.desc()).limit(limit)
    if before is not None:
        found = tx.first(select(made).where(mine, key == before))
        if found is None:
            raise NotFound(f"There is no {before} in the {table.name} of this space")
        statement = statement.where(or_(made < found[0], and_(made == found[0], key < before)))
    return list(reversed(tx.rows(statement)))
