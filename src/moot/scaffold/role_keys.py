"""The role of an agent, from its display name: a key of TOML, and a name for sessions, branches and folders."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from moot.known_words import DEFAULT_HARNESS
from moot.team_profile import RoleProfile, TeamProfile, builtin_profile, builtin_templates
from pyro_mcp.errors import Conflict

CUSTOM = "custom"
"""The name of a team that no template describes."""
_LONGEST = 64
_LONGEST_NAME = 500


def role_key(display_name: str) -> str:
    """Return the role of an agent with this name; it is always a valid one."""
    plain = unicodedata.normalize("NFKD", display_name).encode("ascii", "ignore").decode().lower()
    key = re.sub(r"[^a-z0-9-]+", "_", plain).strip("_-")[:_LONGEST].rstrip("_-")
    return key or "agent"


def visible_name(display_name: str) -> str:
    """Return the name of an agent as our files have it: one line that can be shown."""
    shown = "".join(one if one.isprintable() else "?" for one in display_name)[:_LONGEST_NAME]
    return shown if shown.strip() else "agent"


def infer_template(names: Iterable[str]) -> TeamProfile | None:
    """Return the largest template whose agents are all among these names; None when no template fits."""
    known = {name.casefold() for name in names}
    fitting = [
        profile
        for profile in map(builtin_profile, builtin_templates())
        if all(role.display_name.casefold() in known for role in profile.roles)
    ]
    return max(fitting, key=lambda profile: (len(profile.roles), -len(profile.name)), default=None)


def default_role(name: str, display_name: str) -> RoleProfile:
    """Return the role of an agent that no template describes; model and theme are those of a known name."""
    for template in builtin_templates():
        for role in builtin_profile(template).roles:
            if role.display_name.casefold() == display_name.casefold() and role.harness == DEFAULT_HARNESS:
                return RoleProfile(name, display_name, model=role.model, theme=role.theme)
    return RoleProfile(name, display_name)


def require_distinct(agents: Mapping[str, str]) -> dict[str, str]:
    """Return the role of each agent, given id → display name. Raises `Conflict` when two would have the same."""
    roles: dict[str, str] = {}
    owners: dict[str, str] = {}
    for actor_id, display_name in agents.items():
        key = role_key(display_name)
        if key in owners:
            other = owners[key]
            raise Conflict(
                f"the agents {agents[other]!r} ({other}) and {display_name!r} ({actor_id}) would both be the role "
                f"{key!r}",
                hint="rename one of them on the server, or name a team with --template",
            )
        owners[key] = actor_id
        roles[actor_id] = key
    return roles
