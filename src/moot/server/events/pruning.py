"""Removing the oldest entries of a log. A subscriber that comes back from before them is told of the gap."""

from __future__ import annotations

from sqlalchemy import delete, update

from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import InvalidRequest

_MOST_AT_ONCE = 2000


def prune(tx: Transaction, room: Room, *, keep: int) -> int:
    """Remove the oldest entries of all but the last `keep`, with their deliveries; return how many were removed.

    One call removes at most 2,000, so that nobody waits long for its transaction; call it until it returns 0.
    """
    if keep < 0:
        raise InvalidRequest("the number of messages to keep is not negative")
    last = max(min(room.last_sequence - keep, room.pruned_sequence + _MOST_AT_ONCE), room.pruned_sequence)
    deliveries, events, spaces = tables.deliveries, tables.events, tables.spaces
    old = (deliveries.c.space_key == room.key, deliveries.c.sequence <= last)
    tx.execute(delete(deliveries).where(*old))
    removed = tx.execute(delete(events).where(events.c.space_key == room.key, events.c.sequence <= last)).rowcount
    tx.execute(update(spaces).where(spaces.c.space_key == room.key).values(pruned_sequence=last))
    return removed
