"""Spaces and their participants."""

from __future__ import annotations

from fastapi import APIRouter

from moot.server.api.call import WithCall
from moot.server.api.fields import InPath
from moot.server.api.requests import Join, NewSpace, NewStatus, SpaceChanges, given_fields
from moot.server.database.transaction import Transaction
from moot.server.errors import Forbidden
from moot.server.identity.callers import Caller
from moot.server.results import Participant, Space, SpaceState, SpaceStatus
from moot.server.spaces import participants, spaces
from moot.server.spaces.spaces import Room

router = APIRouter(prefix="/api/spaces", tags=["spaces"])


@router.get("")
def list_spaces(call: WithCall, status: SpaceState | None = None) -> list[Space]:
    """Return the spaces of the caller's tenant."""
    return call.read(lambda tx, caller: [room.shown() for room in spaces.of_tenant(tx, caller, status=status)])


@router.post("")
def create_space(body: NewSpace, call: WithCall) -> Space:
    """Return the space with this id; make it first when there is none."""
    return call.write(
        lambda tx, caller: spaces.create(
            tx, caller, body.space_id, name=body.name, description=body.description
        ).shown()
    )


@router.get("/{space_id}")
def get_space(space_id: InPath, call: WithCall) -> Space:
    """Return a space."""
    return call.read(lambda tx, caller: spaces.find(tx, caller, space_id).shown())


@router.patch("/{space_id}")
def change_space(space_id: InPath, body: SpaceChanges, call: WithCall) -> Space:
    """Change the name, description, status or links of a space."""
    return call.write_in(
        space_id, lambda tx, _, room: spaces.change(tx, room, given_fields(body)).shown(), active=False
    )


@router.post("/{space_id}/archive")
def archive_space(space_id: InPath, call: WithCall) -> Space:
    """Archive a space: nobody can write to it until its status is changed."""
    return call.write_in(
        space_id, lambda tx, _, room: spaces.change(tx, room, {"status": "archived"}).shown(), active=False
    )


@router.get("/{space_id}/status")
def get_status(space_id: InPath, call: WithCall) -> SpaceStatus:
    """Return a space with its participants."""

    def work(tx: Transaction, caller: Caller) -> SpaceStatus:
        room = spaces.find(tx, caller, space_id)
        return SpaceStatus(**room.shown().model_dump(), participants=participants.all_of(tx, room))

    return call.read(work)


@router.post("/{space_id}/join")
def join(space_id: InPath, body: Join, call: WithCall) -> Participant:
    """Make the caller a participant."""

    def work(tx: Transaction, caller: Caller) -> Participant:
        room = spaces.find_active(tx, caller, space_id)
        return participants.join(tx, room, caller.actor_id, adapter=body.agent_adapter)

    return call.write(work)


@router.get("/{space_id}/participants")
def list_participants(space_id: InPath, call: WithCall) -> list[Participant]:
    """Return the participants of a space."""
    return call.read(lambda tx, caller: participants.all_of(tx, spaces.find(tx, caller, space_id)))


@router.patch("/{space_id}/participants/{actor_id}/status")
def set_status(space_id: InPath, actor_id: InPath, body: NewStatus, call: WithCall) -> Participant:
    """Set what the caller says about itself in a space."""

    def work(tx: Transaction, caller: Caller, room: Room) -> Participant:
        if actor_id != caller.actor_id:
            raise Forbidden("A participant sets only its own status")
        return participants.set_status(tx, room, caller, body.status)

    return call.write_in(space_id, work)


@router.post("/{space_id}/participants/{actor_id}/heartbeat")
def heartbeat(space_id: InPath, actor_id: InPath, call: WithCall) -> Participant:
    """Record that the caller is alive."""

    def work(tx: Transaction, caller: Caller) -> Participant:
        if actor_id != caller.actor_id:
            raise Forbidden("A participant sends only its own heartbeat")
        room = spaces.find(tx, caller, space_id)
        participants.touch(tx, room.key, caller.actor_id)
        return participants.get(tx, room, caller.actor_id)

    return call.write(work)
