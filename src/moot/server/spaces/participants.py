"""The participants of a space: joining, and the statuses that they set."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, bindparam, select, update

from moot.server.database import tables
from moot.server.database.changes import ParticipantChanged
from moot.server.database.transaction import Transaction
from moot.server.identity.callers import Caller
from moot.server.results import DeliveryState, Participant
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import NotFound

_participants = tables.participants
_actors = tables.actors
_QUEUED: DeliveryState = "queued"


def join(tx: Transaction, room: Room, actor_id: str, *, adapter: str | None = None) -> Participant:
    """Make an actor a participant; if it is one already, store only its adapter.

    Its cursor begins at the last event of now, so that it gets what is said from now on, and the messages which were
    addressed to it before.
    """
    new = tx.insert_if_new(
        _participants,
        {
            "space_key": room.key,
            "actor_id": actor_id,
            "agent_adapter": adapter,
            "joined_at": tx.now,
            "last_seen_at": tx.now,
            "pushed_sequence": room.last_sequence,
            "acknowledged_sequence": room.last_sequence,
        },
    )
    if not new and adapter is not None:
        tx.execute(update(_participants).where(*_is(room, actor_id)).values(agent_adapter=adapter))
    if new:
        deliveries = tables.deliveries
        waiting = (deliveries.c.space_key == room.key, deliveries.c.recipient_id == actor_id)
        tx.execute(update(deliveries).where(*waiting, deliveries.c.state == _QUEUED).values(again=True))
        tx.announce(ParticipantChanged(room.key, actor_id))
    return get(tx, room, actor_id)


def get(tx: Transaction, room: Room, actor_id: str) -> Participant:
    """Return a participant. Raises `NotFound`."""
    row = tx.first(_select().where(*_is(room, actor_id)))
    if row is None:
        raise NotFound(f"{actor_id} has not joined the space {room.space_id}")
    return _participant(row)


def all_of(tx: Transaction, room: Room) -> list[Participant]:
    """Return the participants of a space, in the order of joining."""
    statement = _select().where(_participants.c.space_key == room.key)
    return [_participant(row) for row in tx.rows(statement.order_by(_participants.c.joined_at, _actors.c.actor_id))]


def set_status(tx: Transaction, room: Room, caller: Caller, status: str | None) -> Participant:
    """Set what the caller says about itself in a space, which it joins if it has not."""
    join(tx, room, caller.actor_id)
    values = {"status": status, "status_updated_at": tx.now, "last_seen_at": tx.now}
    tx.execute(update(_participants).where(*_is(room, caller.actor_id)).values(**values))
    tx.announce(ParticipantChanged(room.key, caller.actor_id))
    return get(tx, room, caller.actor_id)


_SEE = (
    update(_participants)
    .where(_participants.c.space_key == bindparam("space"), _participants.c.actor_id == bindparam("actor"))
    .values(last_seen_at=bindparam("now"))
)


def see(tx: Transaction, room: Room, actor_id: str) -> None:
    """Record that an actor was seen in a space, which it joins if it has not."""
    if tx.execute(_SEE, {"space": room.key, "actor": actor_id, "now": tx.now}).rowcount == 0:
        join(tx, room, actor_id)


def touch(tx: Transaction, space_key: int, actor_id: str) -> None:
    """Record that an actor was seen, in this space and in general."""
    tx.execute(_SEE, {"space": space_key, "actor": actor_id, "now": tx.now})
    tx.execute(update(_actors).where(_actors.c.actor_id == actor_id).values(last_seen_at=tx.now))


def _is(room: Room, actor_id: str) -> tuple[Any, Any]:
    return _participants.c.space_key == room.key, _participants.c.actor_id == actor_id


def _select() -> Select[Any]:
    return select(_participants, _actors.c.display_name, _actors.c.actor_type).join(
        _actors, _actors.c.actor_id == _participants.c.actor_id
    )


def _participant(row: Row[Any]) -> Participant:
    return Participant(
        participant_id=row.actor_id,
        name=row.display_name,
        participant_type=row.actor_type,
        joined_at=row.joined_at,
        agent_adapter=row.agent_adapter,
        actor_id=row.actor_id,
        status=row.status,
        status_updated_at=row.status_updated_at,
        last_seen_at=row.last_seen_at,
    )
