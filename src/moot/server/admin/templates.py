"""The teams that can be installed: the roles of each, and the names of their agents."""

from __future__ import annotations

from collections.abc import Mapping

from moot.server.database.transaction import Transaction
from moot.server.identity import actors
from moot.server.identity.callers import Caller
from moot.server.results import Installation, InstalledAgent
from moot.server.spaces import participants, spaces
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import near_match

_LOOP_4 = {"product": "Product", "spec": "Spec", "implementation": "Implementation", "qa": "QA"}
TEMPLATES: Mapping[str, Mapping[str, str]] = {
    "loop-3": {"leader": "Leader", "implementation": "Implementation", "qa": "Verifier"},
    "loop-4": _LOOP_4,
    "loop-4-observer": {**_LOOP_4, "librarian": "Librarian"},
    "loop-4-parallel": {
        "product": "Product",
        "spec": "Spec",
        "implementation_a": "Implementation A",
        "implementation_b": "Implementation B",
        "qa": "QA",
    },
    "loop-4-split-leader": {
        "product": "Product",
        "lead": "Lead",
        "spec": "Spec",
        "implementation": "Implementation",
        "qa": "QA",
    },
    "loop-6": {
        "product": "Product",
        "leader": "Leader",
        "spec": "Spec",
        "implementation": "Implementation",
        "qa": "QA",
        "librarian": "Librarian",
    },
}
"""The display name of each role, by template and role."""


def roles_of(template: str) -> Mapping[str, str]:
    """Return the roles of a template, also as `mootup/NAME`. Raises `InvalidRequest`."""
    name = template.removeprefix("mootup/")
    if name not in TEMPLATES:
        hint = near_match(name, list(TEMPLATES)) or f"choose from {', '.join(TEMPLATES)}"
        raise InvalidRequest(f"there is no template {name[:100]!r}", hint=hint)
    return TEMPLATES[name]


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
