"""The teams that can be installed: the agents of the templates of `moot.team_profile`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, insert, select

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.identity import actors
from moot.server.identity.callers import Caller
from moot.server.results import Installation, InstalledAgent
from moot.server.spaces import participants, spaces
from moot.server.spaces.spaces import Room
from moot.team_profile import builtin_profile, builtin_templates
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound
from pyro_mcp.hints import near_match

_installations = tables.installations


def roles_of(template: str) -> Mapping[str, str]:
    """Return the display name of each role of a template, also as `mootup/NAME`. Raises `InvalidRequest`."""
    try:
        profile = builtin_profile(template)
    except NotFound:
        hint = near_match(template, builtin_templates()) or f"choose from {', '.join(builtin_templates())}"
        raise InvalidRequest(f"there is no template {template[:100]!r}", hint=hint) from None
    return {role.name: role.display_name for role in profile.roles}


def add_agents(tx: Transaction, sponsor: Caller, room: Room, template: str) -> dict[str, str]:
    """Make the agents of a template without keys, as participants of a space; return their ids by role."""
    made = {}
    for role, name in roles_of(template).items():
        actor_id = actors.new_agent(tx, sponsor, name, profile=role, focus_space_id=room.space_id)
        participants.join(tx, room, actor_id)
        made[role] = actor_id
    return made


def install(
    tx: Transaction,
    sponsor: Caller,
    template: str,
    *,
    space_name: str | None = None,
    idempotency_key: str | None = None,
) -> Installation:
    """Make a space with the agents of a template; each of them has a key.

    A second call with the same idempotency key returns the same team, with new keys instead of the first ones. Raises
    `Conflict` when that call named another template, and `AgentConnected` when one of the first keys is in use.
    """
    if idempotency_key is not None:
        mine = (_installations.c.actor_id == sponsor.actor_id, _installations.c.idempotency_key == idempotency_key)
        before = tx.first(select(_installations).where(*mine))
        if before is not None:
            if before.template != template:
                raise Conflict(f"This idempotency key belongs to an installation of {before.template}")
            return _installed_before(tx, sponsor, before)
    roles = roles_of(template)
    room = spaces.create(tx, sponsor, name=space_name or template.removeprefix("mootup/"))
    participants.join(tx, room, sponsor.actor_id)
    found = {}
    for role, actor_id in add_agents(tx, sponsor, room, template).items():
        key = actors.first_key(tx, sponsor, actor_id).api_key
        found[role] = InstalledAgent(actor_id=actor_id, api_key=key, display_name=roles[role])
    ids = {"installation_id": new_id("ins"), "team_id": new_id("tea")}
    agents = {role: agent.actor_id for role, agent in found.items()}
    who = {"tenant_id": sponsor.tenant_id, "actor_id": sponsor.actor_id, "idempotency_key": idempotency_key}
    what = {"template": template, "space_id": room.space_id, "agents": agents, "created_at": tx.now}
    tx.execute(insert(_installations).values(**ids, **who, **what))
    return Installation(**ids, space_id=room.space_id, space_name=room.name, actors=found)


def _installed_before(tx: Transaction, sponsor: Caller, row: Row[Any]) -> Installation:
    found = {}
    for role, actor_id in row.agents.items():
        agent = actors.rotate_key(tx, sponsor, actor_id, force=False)
        found[role] = InstalledAgent(actor_id=actor_id, api_key=agent.api_key, display_name=agent.display_name)
    room = spaces.find(tx, sponsor, row.space_id)
    ids = {"installation_id": row.installation_id, "team_id": row.team_id}
    return Installation(**ids, space_id=room.space_id, space_name=room.name, actors=found)
