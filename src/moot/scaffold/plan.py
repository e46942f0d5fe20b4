"""Decide which agents a project gets: those without a key, and those of the team that the server does not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moot.client.models import Actor
from moot.config import Actors
from moot.id_encoding import new_id
from moot.scaffold.journal import Journal, Member
from moot.scaffold.options import InitOptions
from moot.scaffold.role_keys import require_distinct, role_key, visible_name
from moot.scaffold.team_choice import choose_team, template_source
from moot.team_profile import TeamProfile, load_template
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound, PyroError
from pyro_mcp.hints import near_match

_DEFAULT_TEMPLATE = "loop-4"
_NEW_TEAM = "'moot init --fresh --template loop-4' makes a new team in a space of its own"


def adoptable(agents: Sequence[Actor], space_id: str, *, force: bool) -> list[Actor]:
    """Return the agents of a space that may be given a key: those without one, or all by force."""
    here = [one for one in agents if one.actor_type == "agent" and one.focus_space_id in (None, space_id)]
    return [one for one in here if force or one.api_key_prefix is None]


def plan_adoption(
    options: InitOptions, where: Journal, project: Path, agents: Sequence[Actor], old: Actors | None
) -> Journal:
    """Return the plan for the agents of a person; `where` says server and space. Raises `PyroError`."""
    where = replace(where, known=tuple(one.actor_id for one in agents), force=options.force)
    free = adoptable(agents, where.space_id, force=options.force)
    kept = {} if old is None or options.force else {one.actor_id: one.api_key for one in old.actors.values()}
    here = [*free, *(one for one in agents if one.actor_id in kept and one not in free)]
    names = [one.display_name for one in here]
    template, team = choose_team(options.template, project, names, read_moot_toml=not options.force)
    if team is None:
        if not here:
            raise _nothing(options)
        members = _of_agents(here, options.roles)
    else:
        _require_free(team, options, agents, here, where.space_id)
        members = _of_team(team, options.roles, here)
        extra = [one for one in here if one.actor_id not in {member.actor_id for member in members}]
        if options.template is None and not options.roles:
            members += _extra(extra, members)
    with_keys = [replace(one, api_key=kept.get(one.actor_id, "")) for one in members]
    return replace(where, template=template, members=tuple(with_keys))


def plan_new_team(options: InitOptions, where: Journal, project: Path, agents: Sequence[Actor]) -> Journal:
    """Return the plan for a new team in a new space."""
    if options.template is None and options.roles:
        template, members = "", [Member(_checked(role), _titled(role)) for role in options.roles]
    else:
        template = template_source(options.template or _DEFAULT_TEMPLATE)
        members = _of_team(load_template(template)[0], options.roles, ())
    return replace(
        where,
        space_id=new_id("spc"),
        space_name=visible_name(project.name or "project"),
        template=template,
        members=tuple(members),
        known=tuple(one.actor_id for one in agents),
        new_space=True,
    )


def _of_team(team: TeamProfile, roles: Sequence[str], agents: Sequence[Actor]) -> list[Member]:
    """Return a member for each role of a team: the agent with its name, else one that is to be made."""
    known = [role.name for role in team.roles]
    for role in roles:
        if role not in known:
            hint = near_match(role, known) or f"choose from {', '.join(known)}"
            raise InvalidRequest(f"--roles: the team {team.name} has no role {role!r}", hint=hint)
    by_name: dict[str, Actor] = {}
    for one in agents:
        other = by_name.setdefault(one.display_name.casefold(), one)
        if other is not one:
            raise Conflict(
                f"two agents are named {one.display_name!r}: {other.actor_id} and {one.actor_id}",
                hint=f"rename or delete one of them on the server; {_NEW_TEAM}",
            )
    chosen = [role for role in team.roles if not roles or role.name in roles]
    found = ((role, by_name.get(role.display_name.casefold())) for role in chosen)
    return [Member(role.name, role.display_name, one.actor_id if one else "") for role, one in found]


def _of_agents(agents: Sequence[Actor], roles: Sequence[str]) -> list[Member]:
    """Return a member for each agent, its role from its name; with `roles`, for these alone."""
    found = {one.role: one for one in _members(agents)}
    return [found.get(role) or Member(_checked(role), _titled(role)) for role in roles or found]


def _extra(agents: Sequence[Actor], members: Sequence[Member]) -> list[Member]:
    """Return a member for each agent that waits for a key beside those of the team."""
    taken = {one.role for one in members}
    found = _members(agents)
    if twice := next((one for one in found if one.role in taken), None):
        raise Conflict(
            f"the agent {twice.display_name!r} ({twice.actor_id}) would be a second role {twice.role!r}",
            hint="name the team with --template, which leaves other agents alone",
        )
    return found


def _members(agents: Sequence[Actor]) -> list[Member]:
    """Return a member for each agent, its role from its name."""
    names = {one.actor_id: one.display_name for one in agents}
    roles = require_distinct(names)
    return [Member(roles[actor_id], visible_name(name), actor_id) for actor_id, name in names.items()]


def _require_free(
    team: TeamProfile, options: InitOptions, agents: Sequence[Actor], here: Sequence[Actor], space_id: str
) -> None:
    """Raise `Conflict` when an agent of the team has a key that this project does not hold."""
    wanted = {role.display_name.casefold() for role in team.roles if not options.roles or role.name in options.roles}
    ours = {one.actor_id for one in here}
    others = [
        one.display_name
        for one in agents
        if one.actor_id not in ours and one.display_name.casefold() in wanted and one.focus_space_id in (None, space_id)
    ]
    if others:
        have = "has a key" if len(others) == 1 else "have keys"
        raise Conflict(
            f"{', '.join(others)} {have} already: another project uses this team",
            hint=f"{_NEW_TEAM}; 'moot init --force' takes these agents over, and makes their keys there invalid",
        )


def _nothing(options: InitOptions) -> PyroError:
    if options.force:
        return NotFound("no agents found in your default space to adopt.", hint=_NEW_TEAM)
    return NotFound(
        "no keyless agents found in your default space.",
        hint=f"{_NEW_TEAM};\n'moot init --force' gives all agents new keys, and makes the old keys invalid",
    )


def _checked(role: str) -> str:
    if role_key(role) != role:
        raise InvalidRequest(f"--roles: {role!r} is not a role", hint=f"write it as {role_key(role)!r}")
    return role


def _titled(role: str) -> str:
    return role.replace("_", " ").title()
