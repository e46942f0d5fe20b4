"""The live sockets and streams of actors, in all server processes."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, func, insert, select, update

from moot.id_encoding import new_id
from moot.server import clock
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.spaces import participants
from pyro_mcp.errors import TooManyRequests

_connections = tables.connections
REFRESH_SECONDS = tables.CONNECTION_LIFETIME_SECONDS / 3


def opened(tx: Transaction, actor_id: str, space_key: int, *, most: int) -> str:
    """Record a new connection; return its id. Raises `TooManyRequests` when the actor has too many."""
    mine = select(func.count()).select_from(_connections).where(_connections.c.actor_id == actor_id)
    if tx.execute(mine.where(_connections.c.seen_at > _oldest())).scalar_one() >= most:
        raise TooManyRequests(f"An actor may have at most {most} live connections", hint="close some of them")
    connection_id = new_id("con")
    values = {"actor_id": actor_id, "space_key": space_key, "opened_at": tx.now, "seen_at": tx.now}
    tx.execute(insert(_connections).values(connection_id=connection_id, **values))
    participants.touch(tx, space_key, actor_id)
    return connection_id


def closed(tx: Transaction, connection_id: str) -> None:
    """Record that a connection has ended."""
    tx.execute(delete(_connections).where(_connections.c.connection_id == connection_id))


def refresh(tx: Transaction, connection_ids: Collection[str]) -> None:
    """Record that these connections are alive, and forget those of server processes that have died."""
    if connection_ids:
        alive = _connections.c.connection_id.in_(connection_ids)
        tx.execute(update(_connections).where(alive).values(seen_at=tx.now))
    tx.execute(delete(_connections).where(_connections.c.seen_at <= _oldest()))


def forget_all(tx: Transaction) -> None:
    """Forget all connections: the only server process of this database has just started."""
    tx.execute(delete(_connections))


def _oldest() -> str:
    return clock.seconds_from_now(-tables.CONNECTION_LIFETIME_SECONDS)
