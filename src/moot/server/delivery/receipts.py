"""The states of deliveries, and the cursors of participants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, and_, bindparam, case, func, or_, select, update

from moot.server import clock
from moot.server.database import tables
from moot.server.database.changes import SentAgain
from moot.server.database.transaction import Transaction
from moot.server.events.addressing import MENTION
from moot.server.events.reading import event_of
from moot.server.results import Cursor, Delivery, DeliveryState, Event
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import Conflict, NotFound

QUEUED: DeliveryState = "queued"
PUSHED: DeliveryState = "pushed"
ACKNOWLEDGED: DeliveryState = "acknowledged"
DEAD: DeliveryState = "dead"
_OPEN = (QUEUED, PUSHED)
_MOST_UNREAD = 1000
MOST_SENT_AGAIN = 16
Span = tuple[int, int]
"""A part of a log: after the first number, up to the second."""
_deliveries = tables.deliveries
_participants = tables.participants
_WAITING = and_(_deliveries.c.state == QUEUED, _deliveries.c.again.is_(False))
"""Queued, and to be sent in the order of the log."""


def cursor(tx: Transaction, room: Room, actor_id: str) -> Cursor:
    """Return the cursor of a participant in a space. Raises `NotFound`."""
    row = tx.first(select(_participants).where(*_participant(room.key, actor_id)))
    if row is None:
        raise NotFound(f"{actor_id} has not joined the space {room.space_id}")
    return Cursor(
        space_id=room.space_id,
        pushed_sequence=row.pushed_sequence or 0,
        acknowledged_sequence=row.acknowledged_sequence,
        last_sequence=room.last_sequence,
    )


def pushed(tx: Transaction, spans: Mapping[tuple[int, str], Sequence[Span]]) -> None:
    """Record which events were sent: by the key of the space and the recipient, all after a number up to another.

    A dead message that was sent is not dead any more, and has a new deadline.
    """
    for (space_key, actor_id), sent in spans.items():
        for after, up_to in sent:
            inside = (*_mine(space_key, actor_id), _deliveries.c.sequence > after, _deliveries.c.sequence <= up_to)
            tx.execute(update(_deliveries).where(*inside, _WAITING).values(state=PUSHED, pushed_at=tx.now))
            alive = {"state": PUSHED, "pushed_at": tx.now, "dead_at": None, "reason": None, "again": False}
            deadline = clock.seconds_from_now(tx.acknowledge_seconds)
            dead = (*inside, _deliveries.c.state == DEAD)
            tx.execute(update(_deliveries).where(*dead).values(**alive, deadline_at=deadline))
        _advance(tx, space_key, actor_id, max((up_to for _, up_to in sent), default=0))


def claimed(tx: Transaction, room: Room, actor_id: str, sequence: int) -> None:
    """Record that a recipient says that it has all events up to a number; what is dead stays dead."""
    mine = (*_mine(room.key, actor_id), _deliveries.c.sequence <= sequence)
    tx.execute(update(_deliveries).where(*mine, _WAITING).values(state=PUSHED, pushed_at=tx.now))
    _advance(tx, room.key, actor_id, sequence)


def _advance(tx: Transaction, space_key: int, actor_id: str, sequence: int) -> None:
    behind = and_(*_participant(space_key, actor_id), func.coalesce(_participants.c.pushed_sequence, 0) < sequence)
    tx.execute(update(_participants).where(behind).values(pushed_sequence=sequence))


def send_skipped(tx: Transaction, room: Room, actor_id: str, span: Span) -> None:
    """Let the messages to a participant be sent by themselves that are in a part of the log which it does not get."""
    inside = (_deliveries.c.sequence > span[0], _deliveries.c.sequence <= span[1])
    waiting = and_(*_mine(room.key, actor_id), _deliveries.c.state == QUEUED, *inside)
    tx.execute(update(_deliveries).where(waiting).values(again=True))


def acknowledge_up_to(tx: Transaction, room: Room, actor_id: str, sequence: int) -> Cursor:
    """Acknowledge all messages to a participant up to this number, and move its cursor there."""
    sequence = min(sequence, room.last_sequence)
    _acknowledge(tx, room.key, actor_id, _deliveries.c.sequence <= sequence)
    behind = and_(*_participant(room.key, actor_id), _participants.c.acknowledged_sequence < sequence)
    tx.execute(update(_participants).where(behind).values(acknowledged_sequence=sequence))
    return cursor(tx, room, actor_id)


def acknowledge(tx: Transaction, room: Room, actor_id: str, sequences: Iterable[int]) -> None:
    """Acknowledge these messages to a participant, and no other."""
    if numbers := list(sequences):
        _acknowledge(tx, room.key, actor_id, _deliveries.c.sequence.in_(numbers))


# Built once: each write of an agent uses it.
_ACKNOWLEDGE_PUSHED = (
    update(_deliveries)
    .where(
        _deliveries.c.space_key == bindparam("space"),
        _deliveries.c.recipient_id == bindparam("actor"),
        _deliveries.c.state == PUSHED,
    )
    .values(state=ACKNOWLEDGED, acknowledged_at=bindparam("now"))
)


def acknowledge_pushed(tx: Transaction, room: Room, actor_id: str) -> None:
    """Acknowledge all messages that were pushed to a participant before now."""
    tx.execute(_ACKNOWLEDGE_PUSHED, {"space": room.key, "actor": actor_id, "now": tx.now})


def _acknowledge(tx: Transaction, space_key: int, actor_id: str, which: Any) -> None:
    still = and_(*_mine(space_key, actor_id), _deliveries.c.state.in_((*_OPEN, DEAD)), which)
    tx.execute(
        update(_deliveries)
        .where(still)
        .values(
            state=ACKNOWLEDGED,
            acknowledged_at=tx.now,
            dead_at=None,
            reason=None,
            pushed_at=case((_deliveries.c.pushed_at.is_(None), tx.now), else_=_deliveries.c.pushed_at),
        )
    )


def unread_mentions(tx: Transaction, room: Room, actor_id: str) -> int:
    """Return how many mentions an actor has not acknowledged, at most 1,000; the dead ones are not counted."""
    still = (*_mine(room.key, actor_id), _deliveries.c.state.in_(_OPEN), _deliveries.c.relevance == MENTION)
    found = select(_deliveries.c.sequence).where(*still).limit(_MOST_UNREAD).subquery()
    return int(tx.execute(select(func.count()).select_from(found)).scalar_one())


def of_event(tx: Transaction, room: Room, event_id: str) -> list[Delivery]:
    """Return the deliveries of a message, one for each recipient."""
    return _list(tx, room, tables.events.c.event_id == event_id)


def of_recipient(
    tx: Transaction, room: Room, actor_id: str | None, state: DeliveryState | None, *, limit: int, after: int = 0
) -> list[Delivery]:
    """Return the deliveries in a space; with `actor_id` or `state`, only those of it."""
    where = [_deliveries.c.sequence > after]
    where += [] if actor_id is None else [_deliveries.c.recipient_id == actor_id]
    where += [] if state is None else [_deliveries.c.state == state]
    return _list(tx, room, *where, limit=limit)


def bury(tx: Transaction) -> int:
    """Mark the deliveries whose deadline has passed as dead; return their number."""
    late = and_(_deliveries.c.state.in_(_OPEN), _deliveries.c.deadline_at <= tx.now)
    reason = case(
        (_deliveries.c.state == QUEUED, "the recipient was not connected until the deadline"),
        else_="the recipient did not acknowledge it until the deadline",
    )
    return tx.execute(update(_deliveries).where(late).values(state=DEAD, dead_at=tx.now, reason=reason)).rowcount


def next_deadline(tx: Transaction) -> str | None:
    """Return the time of the next deadline of a delivery that is open."""
    found = tx.first(select(func.min(_deliveries.c.deadline_at)).where(_deliveries.c.state.in_(_OPEN)))
    return found[0] if found else None


def revive(tx: Transaction, room: Room, actor_id: str, sequence: int) -> Delivery:
    """Queue a dead message again, with a new deadline. Raises `NotFound`, and `Conflict` when it is not dead."""
    one = (*_mine(room.key, actor_id), _deliveries.c.sequence == sequence)
    changed = tx.execute(
        update(_deliveries)
        .where(*one, _deliveries.c.state == DEAD)
        .values(
            state=QUEUED,
            queued_at=tx.now,
            pushed_at=None,
            dead_at=None,
            reason=None,
            again=True,
            deadline_at=clock.seconds_from_now(tx.acknowledge_seconds),
        )
    )
    found = _list(tx, room, *one)
    if not found:
        raise NotFound(f"No message with the number {sequence} is addressed to {actor_id}")
    if changed.rowcount == 0:
        raise Conflict(f"The message is {found[0].state}; only a dead one can be sent again")
    tx.announce(SentAgain(room.key, actor_id))
    return found[0]


def to_send_again(tx: Transaction, room: Room, actor_id: str, *, pushed_after: int | None = None) -> list[Event]:
    """Return the first messages that are to be sent to a recipient although its cursor has passed them.

    With `pushed_after` also those after that number that were sent over an earlier connection, and not acknowledged.
    """
    waiting = _deliveries.c.state == QUEUED
    if pushed_after is not None:
        waiting = or_(waiting, and_(_deliveries.c.state == PUSHED, _deliveries.c.sequence > pushed_after))
    which = (*_mine(room.key, actor_id), waiting, _deliveries.c.again.is_(True))
    events = tables.events
    same = and_(events.c.space_key == _deliveries.c.space_key, events.c.sequence == _deliveries.c.sequence)
    statement = select(events).join(_deliveries, same).where(*which).order_by(events.c.sequence)
    return [event_of(row, room.space_id) for row in tx.rows(statement.limit(MOST_SENT_AGAIN))]


def record_sent_again(tx: Transaction, space_key: int, actor_id: str, sequence: int) -> None:
    """Record that a message was sent that the cursor had passed; no position shows whether it has arrived."""
    one = and_(*_mine(space_key, actor_id), _deliveries.c.sequence == sequence, _deliveries.c.state == QUEUED)
    tx.execute(update(_deliveries).where(one).values(state=PUSHED, pushed_at=tx.now))


def _mine(space_key: int, actor_id: str) -> tuple[Any, Any]:
    return _deliveries.c.space_key == space_key, _deliveries.c.recipient_id == actor_id


def _participant(space_key: int, actor_id: str) -> tuple[Any, Any]:
    return _participants.c.space_key == space_key, _participants.c.actor_id == actor_id


def _list(tx: Transaction, room: Room, *where: Any, limit: int = 1000) -> list[Delivery]:
    events = tables.events
    statement = (
        select(_deliveries, events.c.event_id)
        .join(events, and_(events.c.space_key == _deliveries.c.space_key, events.c.sequence == _deliveries.c.sequence))
        .where(_deliveries.c.space_key == room.key, *where)
        .order_by(_deliveries.c.sequence, _deliveries.c.recipient_id)
        .limit(limit)
    )
    return [_delivery(row) for row in tx.rows(statement)]


def _delivery(row: Row[Any]) -> Delivery:
    names = Delivery.model_fields
    return Delivery.model_validate({name: value for name, value in row._mapping.items() if name in names})
