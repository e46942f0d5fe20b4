"""Actors: people, and the agents that they sponsor. An actor of another tenant is as if it did not exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, and_, exists, func, insert, select, update

from moot.id_encoding import new_id
from moot.server import clock
from moot.server.database import tables
from moot.server.database.changes import AccessChanged, Released
from moot.server.database.transaction import Transaction
from moot.server.errors import AgentConnected, Forbidden
from moot.server.identity.callers import Caller
from moot.server.identity.names import require_free
from moot.server.identity.tokens import AGENT, hash_of, new_token, shown_prefix
from moot.server.results import Actor, ActorType, ActorWithKey
from pyro_mcp.errors import Conflict, NotFound

_actors = tables.actors


MOST_AGENTS = 1000
_PREFIXES: Mapping[ActorType, str] = {"human": "usr", "agent": "agt"}


def type_of(actor_id: str) -> ActorType:
    """Return the type of an actor of this server, also of one that was deleted: its id begins with it."""
    return "human" if actor_id.startswith(f"{_PREFIXES['human']}_") else "agent"


def new_tenant(tx: Transaction, name: str) -> str:
    """Make a tenant; return its id."""
    tenant_id = new_id("ten")
    tx.execute(insert(tables.tenants).values(tenant_id=tenant_id, name=name, created_at=tx.now))
    return tenant_id


def new_human(tx: Transaction, tenant_id: str, name: str, *, email: str | None = None, is_admin: bool = False) -> str:
    """Make a person of a tenant; return the id. Raises `Conflict` for the name of another actor."""
    require_free(tx, tenant_id, name, "human")
    values = {"display_name": name, "email": email, "is_admin": is_admin, "actor_type": "human"}
    return _new(tx, _PREFIXES["human"], {**values, "tenant_id": tenant_id})


def new_agent(
    tx: Transaction, sponsor: Caller, name: str, *, profile: str | None = None, focus_space_id: str | None = None
) -> str:
    """Make an agent without a key, sponsored by a person; return its id. Raises `Conflict` for a person's name."""
    require_free(tx, sponsor.tenant_id, name, "agent")
    mine = select(func.count()).select_from(_actors).where(_actors.c.sponsor_id == sponsor.actor_id)
    if tx.execute(mine.where(_actors.c.deleted_at.is_(None))).scalar_one() >= MOST_AGENTS:
        raise Conflict(f"A person has at most {MOST_AGENTS} agents", hint="delete some")
    values = {"display_name": name, "agent_profile": profile, "sponsor_id": sponsor.actor_id, "actor_type": "agent"}
    return _new(tx, _PREFIXES["agent"], {**values, "tenant_id": sponsor.tenant_id, "focus_space_id": focus_space_id})


def _new(tx: Transaction, prefix: str, values: Mapping[str, Any]) -> str:
    actor_id = new_id(prefix)
    tx.execute(insert(_actors).values(actor_id=actor_id, created_at=tx.now, updated_at=tx.now, **values))
    return actor_id


def get(tx: Transaction, caller: Caller, actor_id: str) -> Actor:
    """Return an actor of the caller's tenant. Raises `NotFound`."""
    found = tx.first(_select().where(_actors.c.actor_id == actor_id, _actors.c.tenant_id == caller.tenant_id))
    if found is None:
        raise NotFound(f"There is no actor {actor_id}")
    return _actor(found)


def sponsored(tx: Transaction, caller: Caller) -> list[Actor]:
    """Return the agents that a person sponsors, in the order of their making. Raises `Forbidden` for an agent."""
    if not caller.is_human:
        raise Forbidden("Only a person has agents")
    statement = _select().where(_actors.c.sponsor_id == caller.actor_id).order_by(_actors.c.created_at)
    return [_actor(row) for row in tx.rows(statement)]


def rotate_key(tx: Transaction, caller: Caller, actor_id: str, *, force: bool) -> ActorWithKey:
    """Give an agent a new key; its old one is invalid from the commit on.

    Raises `NotFound`, `Forbidden` when the caller does not sponsor it, and `AgentConnected` without `force`.
    """
    agent = _sponsored_agent(tx, caller, actor_id)
    if agent.is_connected and not force:
        raise AgentConnected(actor_id)
    return _with_new_key(tx, caller, actor_id)


def first_key(tx: Transaction, caller: Caller, actor_id: str) -> ActorWithKey:
    """Give an agent its first key. Raises `Conflict` when it has one."""
    if _sponsored_agent(tx, caller, actor_id).api_key_prefix is not None:
        raise Conflict("The agent has a key already", hint=f"POST /api/actors/{actor_id}/rotate-key makes a new one")
    return _with_new_key(tx, caller, actor_id)


def _with_new_key(tx: Transaction, caller: Caller, actor_id: str) -> ActorWithKey:
    token = new_token(AGENT)
    credentials = tables.credentials
    alive = and_(credentials.c.actor_id == actor_id, credentials.c.revoked_at.is_(None))
    tx.execute(update(credentials).where(alive).values(revoked_at=tx.now))
    tx.execute(
        insert(credentials).values(
            token_hash=hash_of(token),
            credential_id=new_id("key"),
            actor_id=actor_id,
            kind="agent",
            name="agent key",
            prefix=shown_prefix(token),
            created_at=tx.now,
        )
    )
    tx.execute(update(_actors).where(_actors.c.actor_id == actor_id).values(updated_at=tx.now))
    tx.announce(AccessChanged(actor_id))
    return ActorWithKey(**get(tx, caller, actor_id).model_dump(), api_key=token)


def release(tx: Transaction, caller: Caller, actor_id: str) -> str:
    """End the connections of an agent; return `released`, or `already_released` when it has none."""
    agent = _sponsored_agent(tx, caller, actor_id)
    tx.execute(tables.connections.delete().where(tables.connections.c.actor_id == actor_id))
    tx.announce(Released(actor_id))
    return "released" if agent.is_connected else "already_released"


def change(tx: Transaction, caller: Caller, actor_id: str, changes: Mapping[str, Any]) -> Actor:
    """Set fields of an actor, which is the caller or sponsored by the caller. Only its sponsor renames an agent."""
    if actor_id != caller.actor_id:
        _sponsored_agent(tx, caller, actor_id)
    if "display_name" in changes:
        if actor_id == caller.actor_id and not caller.is_human:
            raise Forbidden("Only the person who sponsors an agent may rename it")
        kind: ActorType = "human" if actor_id == caller.actor_id else "agent"
        require_free(tx, caller.tenant_id, changes["display_name"], kind, but=actor_id)
    tx.execute(update(_actors).where(_actors.c.actor_id == actor_id).values(**changes, updated_at=tx.now))
    return get(tx, caller, actor_id)


def delete(tx: Transaction, caller: Caller, actor_id: str) -> None:
    """Delete an agent: its key is invalid, its messages stay."""
    _sponsored_agent(tx, caller, actor_id)
    credentials = tables.credentials
    tx.execute(update(credentials).where(credentials.c.actor_id == actor_id).values(revoked_at=tx.now))
    tx.execute(update(_actors).where(_actors.c.actor_id == actor_id).values(deleted_at=tx.now, updated_at=tx.now))
    tx.execute(tables.participants.delete().where(tables.participants.c.actor_id == actor_id))
    tx.execute(tables.timers.delete().where(tables.timers.c.actor_id == actor_id))
    tx.announce(AccessChanged(actor_id))


def set_focus(tx: Transaction, caller: Caller, actor_ids: Sequence[str], space_id: str | None) -> list[Actor]:
    """Set the space in which these agents should work; null lets each use the space that it joined last."""
    if space_id is not None:
        spaces = tables.spaces.c
        if (
            tx.first(select(spaces.space_key).where(spaces.tenant_id == caller.tenant_id, spaces.space_id == space_id))
            is None
        ):
            raise NotFound(f"There is no space {space_id}")
    return [change(tx, caller, actor_id, {"focus_space_id": space_id}) for actor_id in actor_ids]


def touch(tx: Transaction, actor_id: str) -> None:
    """Record that an actor was seen."""
    tx.execute(update(_actors).where(_actors.c.actor_id == actor_id).values(last_seen_at=tx.now))


def _sponsored_agent(tx: Transaction, caller: Caller, actor_id: str) -> Actor:
    found = get(tx, caller, actor_id)
    if found.actor_type != "agent" or found.sponsor_id != caller.actor_id:
        raise Forbidden("Only the person who sponsors an agent may do this")
    return found


def _select() -> Select[Any]:
    credentials, connections = tables.credentials.c, tables.connections.c
    key = (
        select(func.max(credentials.prefix))
        .where(
            credentials.actor_id == _actors.c.actor_id, credentials.kind == "agent", credentials.revoked_at.is_(None)
        )
        .scalar_subquery()
    )
    oldest = clock.seconds_from_now(-tables.CONNECTION_LIFETIME_SECONDS)
    connected = exists().where(connections.actor_id == _actors.c.actor_id, connections.seen_at > oldest)
    columns = [column for column in _actors.c if column.name != "deleted_at"]
    return select(*columns, key.label("api_key_prefix"), connected.label("is_connected")).where(
        _actors.c.deleted_at.is_(None)
    )


def _actor(row: Row[Any]) -> Actor:
    values = dict(row._mapping)
    if values["actor_type"] == "human":
        values["is_connected"] = None
    return Actor.model_validate(values)
