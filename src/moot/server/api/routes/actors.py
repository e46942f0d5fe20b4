"""Actors, their keys, and the tokens of people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header

from moot.server.api.call import WithCall
from moot.server.api.fields import InPath
from moot.server.api.requests import ActorChanges, Focus, NewActor, NewPersonalAccessToken, given_fields
from moot.server.database.transaction import Transaction
from moot.server.errors import Forbidden
from moot.server.identity import actors, personal
from moot.server.identity.callers import Caller
from moot.server.objects import orientation
from moot.server.results import (
    Actor,
    ActorWithKey,
    Done,
    NewPersonalToken,
    Orientation,
    PersonalToken,
    Space,
    SpaceState,
)
from moot.server.spaces import spaces
from pyro_mcp.errors import NotFound

router = APIRouter(prefix="/api", tags=["actors"])


@router.get("/actors/me")
def get_me(call: WithCall) -> Actor:
    """Return the caller."""
    return call.read(lambda tx, caller: actors.get(tx, caller, caller.actor_id))


@router.get("/actors/me/agents")
def list_my_agents(call: WithCall) -> list[Actor]:
    """Return the agents that the caller sponsors."""
    return call.read(actors.sponsored)


@router.get("/actors/me/spaces")
def list_my_spaces(call: WithCall, status: SpaceState | None = None) -> list[Space]:
    """Return the spaces that the caller has joined."""
    return call.read(lambda tx, caller: [room.shown() for room in spaces.joined(tx, caller, status=status)])


@router.get("/actors/me/orientation")
def get_orientation(call: WithCall) -> Orientation:
    """Return what the caller needs to begin, and let it join its focus space."""
    return call.write(orientation.of)


@router.post("/actors/me/heartbeat")
def heartbeat(call: WithCall) -> Done:
    """Record that the caller is alive."""
    call.write(lambda tx, caller: actors.touch(tx, caller.actor_id))
    return Done(status="ok")


@router.put("/actors/focus")
def set_focus(body: Focus, call: WithCall) -> list[Actor]:
    """Set the space in which agents should work."""
    return call.write(lambda tx, caller: actors.set_focus(tx, caller, body.actor_ids, body.space_id))


@router.post("/actors")
def register(body: NewActor, call: WithCall) -> ActorWithKey:
    """Make an agent that the caller sponsors, with a key."""
    return call.write(lambda tx, caller: _register(tx, caller, body))


@router.post("/tenants/{tenant_id}/agents")
def register_in_tenant(tenant_id: InPath, body: NewActor, call: WithCall) -> ActorWithKey:
    """Make an agent that the caller sponsors, with a key; the tenant can only be the caller's."""

    def work(tx: Transaction, caller: Caller) -> ActorWithKey:
        if tenant_id != caller.tenant_id:
            raise NotFound(f"There is no tenant {tenant_id}")
        return _register(tx, caller, body)

    return call.write(work)


def _register(tx: Transaction, caller: Caller, body: NewActor) -> ActorWithKey:
    if not caller.is_human:
        raise Forbidden("Only a person may make an agent")
    actor_id = actors.new_agent(tx, caller, body.display_name, profile=body.agent_profile)
    return actors.first_key(tx, caller, actor_id)


@router.get("/actors/{actor_id}")
def get_actor(actor_id: InPath, call: WithCall) -> Actor:
    """Return an actor."""
    return call.read(lambda tx, caller: actors.get(tx, caller, actor_id))


@router.patch("/actors/{actor_id}")
def change_actor(actor_id: InPath, body: ActorChanges, call: WithCall) -> Actor:
    """Change the caller, or an agent that it sponsors."""
    return call.write(lambda tx, caller: actors.change(tx, caller, actor_id, given_fields(body)))


@router.delete("/actors/{actor_id}")
def delete_actor(actor_id: InPath, call: WithCall) -> Done:
    """Delete an agent that the caller sponsors."""
    call.write(lambda tx, caller: actors.delete(tx, caller, actor_id))
    return Done(status="deleted")


@router.post("/actors/{actor_id}/rotate-key")
def rotate_key(
    actor_id: InPath, call: WithCall, x_force_rotate: Annotated[str, Header(max_length=10)] = ""
) -> ActorWithKey:
    """Give an agent a new key; the old one is invalid at once."""
    force = x_force_rotate.lower() == "true"
    return call.write(lambda tx, caller: actors.rotate_key(tx, caller, actor_id, force=force))


@router.post("/agents/{actor_id}/first-key")
def first_key(actor_id: InPath, call: WithCall) -> ActorWithKey:
    """Give an agent its first key."""
    return call.write(lambda tx, caller: actors.first_key(tx, caller, actor_id))


@router.post("/actors/{actor_id}/release")
def release(actor_id: InPath, call: WithCall) -> Done:
    """End the connections of an agent, so that its key can be rotated."""
    return Done(status=call.write(lambda tx, caller: actors.release(tx, caller, actor_id)))


@router.get("/personal-access-tokens")
def list_tokens(call: WithCall) -> list[PersonalToken]:
    """Return the caller's tokens."""
    return call.read(lambda tx, caller: personal.of_actor(tx, caller.actor_id))


@router.post("/personal-access-tokens")
def create_token(body: NewPersonalAccessToken, call: WithCall) -> NewPersonalToken:
    """Make a token for the caller, who must be a person."""

    def work(tx: Transaction, caller: Caller) -> NewPersonalToken:
        personal.require_human(caller)
        return personal.create(tx, caller.actor_id, body.name, expires_in_days=body.expires_in_days)

    return call.write(work)


@router.delete("/personal-access-tokens/{token_id}")
def revoke_token(token_id: InPath, call: WithCall) -> Done:
    """Make a token of the caller invalid at once."""
    call.write(lambda tx, caller: personal.revoke(tx, caller.actor_id, token_id))
    return Done(status="revoked")
