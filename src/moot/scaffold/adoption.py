"""Get a key for each agent of a plan. No key is lost: each is durably on the disk before the next one is asked for.

A key whose answer never arrived, because we were killed, belongs to nobody: the next run makes a new one. An agent that
was made so is found by its name, because it was not there when the plan was made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from moot.client.space_client import SpaceClient
from moot.config import ActorKey, Actors, load_actors, prepare_moot_folder, save_actors
from moot.scaffold.journal import Journal, Member, write_journal
from pyro_mcp.errors import NotFound, PyroError
from pyro_mcp.host.files import write_durable

_AGAIN = "the keys so far are safe in .moot/adoption.json; run the same command again to go on"
_GONE = "if the server was set up anew, its keys are useless: remove .moot/adoption.json, then run the command again"
_ADAPTER = "moot"


def adopt(space: SpaceClient, folder: Path, journal: Journal, say: Callable[[str], object]) -> Journal:
    """Give each member of the plan a key; return the journal with all keys. A later call continues."""
    width = max([16, *(len(one.display_name) for one in journal.members)])
    if journal.new_space:
        space.create_space(journal.space_id, journal.space_name)
        space.join(journal.space_id, _ADAPTER)
    for member in journal.members:
        if not member.api_key:
            try:
                journal = _with_key(space, folder, journal, member)
            except PyroError as error:
                status = f" ({error.details['status']})" if "status" in error.details else ""
                error.message = f"rotate-key failed for {member.display_name}{status}: {error.message}"
                gone = _GONE if isinstance(error, NotFound) else _AGAIN
                error.hint = "\n".join(filter(None, [error.hint, gone]))
                raise
        say(f"  {member.display_name:<{width}} ✓")
    _focus(space, journal)
    return journal


def _with_key(space: SpaceClient, folder: Path, journal: Journal, member: Member) -> Journal:
    if not member.actor_id and (lost := _made_before(space, journal, member)):
        member = replace(member, actor_id=lost)
    if member.actor_id:
        made = space.rotate_key(member.actor_id, force=journal.force)
    else:
        tenant_id = space.me().tenant_id or "-"
        made = space.new_agent(tenant_id, member.display_name, member.profile)
    journal = journal.with_member(replace(member, actor_id=made.actor_id, api_key=made.api_key))
    write_journal(folder, journal)
    return journal


def _made_before(space: SpaceClient, journal: Journal, member: Member) -> str:
    """Return the id of the agent that an interrupted run has made for a member, "" when there is none."""
    taken = {*journal.known, *(one.actor_id for one in journal.members)}
    for one in space.my_agents():
        same = one.display_name == member.display_name and one.agent_profile == member.profile
        if same and one.actor_id not in taken:
            return one.actor_id
    return ""


def _focus(space: SpaceClient, journal: Journal) -> None:
    """Let the agents that have no space work in that of the plan."""
    focus = {one.actor_id: one.focus_space_id for one in space.my_agents()}
    moved = [one.actor_id for one in journal.members if focus.get(one.actor_id) != journal.space_id]
    if moved:
        space.set_focus(moved, journal.space_id)


def write_actors(folder: Path, journal: Journal) -> Path:
    """Write `.moot/actors.json` from a complete journal. Keys of other agents there are kept in a second file."""
    made = {one.role: ActorKey(one.actor_id, one.api_key, one.display_name) for one in journal.members}
    old = load_actors(folder)
    if old is not None and journal.merge and old.api_url == journal.api_url:
        made = {**old.actors, **made}
    ids = {one.actor_id for one in made.values()}
    if old is not None and any(one.actor_id not in ids for one in old.actors.values()):
        kept = prepare_moot_folder(folder) / f"actors-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
        write_durable(kept, json.dumps(asdict(old), indent=2))
    return save_actors(Actors(journal.space_id, journal.space_name, journal.api_url, made), folder)
