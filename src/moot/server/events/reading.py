"""Reading the log of a space. All lists are in the order of the log, the oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select

from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.events.addressing import MENTION
from moot.server.results import Event
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import NotFound

_events = tables.events
_MOST_BYTES = 8 << 20
"""The most that one list of events has; it has at least one event."""
_ROWS_AT_ONCE = 20


def event_of(row: Row[Any], space_id: str) -> Event:
    """Return the event in a row of the table."""
    return Event.model_construct(
        event_id=row.event_id,
        space_id=space_id,
        speaker_id=row.speaker_id,
        speaker_name=row.speaker_name,
        speaker_type=row.speaker_type,
        text=row.text,
        timestamp=row.timestamp,
        parent_event_id=row.parent_event_id,
        references=row.reference_uris,
        thread_id=row.thread_id,
        metadata=row.metadata,
        sequence=row.sequence,
    )


def one(tx: Transaction, room: Room, event_id: str) -> Event:
    """Return the event with this id. Raises `NotFound`."""
    row = tx.first(select(_events).where(_events.c.space_key == room.key, _events.c.event_id == event_id))
    if row is None:
        raise NotFound(f"There is no event {event_id[:200]} in this space", hint="it may have been pruned")
    return event_of(row, room.space_id)


def sequence_of(tx: Transaction, room: Room, cursor: str) -> int:
    """Return the sequence number that a cursor means: an event's id, or the number itself. Raises `NotFound`."""
    if cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18:
        return int(cursor)
    return one(tx, room, cursor).sequence


def page(
    tx: Transaction, room: Room, limit: int, *, since: str | None = None, before: str | None = None
) -> list[Event]:
    """Return the first events after `since`, or else the last ones (before `before`)."""
    where = [] if before is None else [_events.c.sequence < sequence_of(tx, room, before)]
    if since is None:
        return _last(tx, room, limit, *where)
    return after(tx, room, sequence_of(tx, room, since), limit, *where)


def after(tx: Transaction, room: Room, sequence: int, limit: int, *where: ColumnElement[bool]) -> list[Event]:
    """Return the first events after a sequence number; fewer than `limit` are no sign that there are no more."""
    statement = (
        select(_events)
        .where(_events.c.space_key == room.key, _events.c.sequence > sequence, *where)
        .order_by(_events.c.sequence)
        .limit(limit)
    )
    return _within_bytes(tx, room, statement)


def _within_bytes(tx: Transaction, room: Room, statement: Select[Any]) -> list[Event]:
    """Return the first events of a query, as many as an answer may have; read no more rows than that takes."""
    found: list[Event] = []
    left = _MOST_BYTES
    with tx.execute(statement.execution_options(yield_per=_ROWS_AT_ONCE)) as rows:
        for row in rows:
            left -= len(row.text) + len(str(row.reference_uris)) + len(str(row.metadata or ""))
            if left < 0 and found:
                break
            found.append(event_of(row, room.space_id))
    return found


def _last(tx: Transaction, room: Room, limit: int, *where: ColumnElement[bool]) -> list[Event]:
    statement = (
        select(_events).where(_events.c.space_key == room.key, *where).order_by(_events.c.sequence.desc()).limit(limit)
    )
    return _within_bytes(tx, room, statement)[::-1]


def mentions(tx: Transaction, room: Room, actor_id: str, limit: int, *, since: str | None = None) -> list[Event]:
    """Return the first messages after `since` that mention an actor, or else the last ones."""
    deliveries = tables.deliveries
    statement = (
        select(_events)
        .join(
            deliveries,
            (deliveries.c.space_key == _events.c.space_key) & (deliveries.c.sequence == _events.c.sequence),
        )
        .where(
            deliveries.c.space_key == room.key,
            deliveries.c.recipient_id == actor_id,
            deliveries.c.relevance == MENTION,
        )
        .limit(limit)
    )
    if since is None:
        return _within_bytes(tx, room, statement.order_by(deliveries.c.sequence.desc()))[::-1]
    later = deliveries.c.sequence > sequence_of(tx, room, since)
    return _within_bytes(tx, room, statement.where(later).order_by(deliveries.c.sequence))


def news(
    tx: Transaction, room: Room, sequence: int, limit: int, *, without: Sequence[str], to: str | None = None
) -> tuple[list[Event], int]:
    """Return the last events after a number, and how many before them are left out.

    Those by the speakers `without` do not count; with `to` only those do that mention this actor.
    """
    where = [_events.c.sequence > sequence, _events.c.speaker_id.not_in(without)]
    if to is not None:
        deliveries = tables.deliveries.c
        mine = (deliveries.space_key == room.key, deliveries.recipient_id == to, deliveries.relevance == MENTION)
        where.append(_events.c.sequence.in_(select(deliveries.sequence).where(*mine, deliveries.sequence > sequence)))
    found = _last(tx, room, limit, *where)
    statement = select(func.count()).select_from(_events).where(_events.c.space_key == room.key, *where)
    return found, tx.execute(statement).scalar_one() - len(found)


def of_thread(tx: Transaction, room: Room, thread_id: str, parent_event_id: str, limit: int) -> list[Event]:
    """Return the event at which a thread begins, and the thread's messages."""
    in_it = (_events.c.thread_id == thread_id) | (_events.c.event_id == parent_event_id)
    return _last(tx, room, limit, in_it)


def between(tx: Transaction, room: Room, start: str | None, end: str | None, limit: int) -> list[Event]:
    """Return the last events of a time: from `start` up to `end`, both of which may be open."""
    where = [] if start is None else [_events.c.timestamp >= start]
    if end is not None:
        where.append(_events.c.timestamp <= end)
    return _last(tx, room, limit, *where)
