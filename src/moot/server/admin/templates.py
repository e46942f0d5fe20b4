"""The teams that can be installed: the agents of the templates of `moot.team_profile`."""

from __future__ import annotations

from collections.abc import Mapping

from moot.server.database.transaction import Transaction
from moot.server.identity import actors
from moot.server.identity.callers import Caller
from moot.server.results import Installation, InstalledAgent
from moot.server.spaces import participants, spaces
from moot.server.spaces.spaces import Room
from moot.team_profile import builtin_profile, builtin_templates
from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.hints import near_match


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


def install(tx: Transaction, sponsor: Caller, template: str, *, space_name: str | None = None) -> Installation:
    """Make a space with the agents of a template; each of them has a key."""
    roles = roles_of(template)
    room = spaces.create(tx, sponsor, name=space_name or template.removeprefix("mootup/"))
    participants.join(tx, room, sponsor.actor_id)
    found = {}
    for role, actor_id in add_agents(tx, sponsor, room, template).items():
        key = actors.first_key(tx, sponsor, actor_id).api_key
        found[role] = InstalledAgent(actor_id=actor_id, api_key=key, display_name=roles[role])
    return Installation(space_id=room.space_id, space_name=room.name, actors=found)
