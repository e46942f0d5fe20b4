"""The orientation of an agent: all that it needs to begin, in one answer."""

from __future__ import annotations

from sqlalchemy import select

from moot.response_format import format_events
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.delivery import receipts
from moot.server.events import reading
from moot.server.identity.callers import Caller
from moot.server.results import FocusSpace, Identity, Orientation, Present
from moot.server.spaces import participants, spaces
from moot.server.spaces.spaces import ACTIVE, Room
from pyro_mcp.errors import NotFound

_RECENT_EVENTS = 20


def of(tx: Transaction, caller: Caller) -> Orientation:
    """Return the orientation of a caller, and let it join its focus space."""
    identity = Identity(
        actor_id=caller.actor_id,
        display_name=caller.display_name,
        actor_type="human" if caller.is_human else "agent",
        is_admin=caller.is_admin,
    )
    room = focus_of(tx, caller)
    if room is None:
        return Orientation(
            identity=identity, focus_space=None, unread_mentions=0, last_status=None, participants=[], context=None
        )
    mine = participants.join(tx, room, caller.actor_id)
    recent = reading.page(tx, room, _RECENT_EVENTS)
    shown = room.shown()
    return Orientation(
        identity=identity,
        focus_space=FocusSpace(
            space_id=room.space_id, name=room.name, description=room.description, status=shown.status
        ),
        unread_mentions=receipts.unread_mentions(tx, room, caller.actor_id),
        last_status=mine.status,
        participants=[
            Present(
                name=one.name,
                participant_id=one.participant_id,
                participant_type=one.participant_type,
                status=one.status,
            )
            for one in participants.all_of(tx, room)
        ],
        context=f"# Recent events\n\n{format_events(recent)}" if recent else None,
    )


def focus_of(tx: Transaction, caller: Caller) -> Room | None:
    """Return the space in which a caller should work: its focus, its default space, or the one it joined last."""
    actors = tables.actors.c
    row = tx.first(select(actors.focus_space_id, actors.default_space_id).where(actors.actor_id == caller.actor_id))
    for space_id in row or ():
        if space_id is not None:
            try:
                return spaces.find(tx, caller, space_id)
            except NotFound:
                continue
    joined = spaces.joined(tx, caller, status=ACTIVE)
    return joined[-1] if joined else None
