"""`moot init`: make a folder a project of a team of agents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moot.client.auth import Credential, require_credential
from moot.client.space_client import SpaceClient
from moot.config import ACTORS_JSON, Actors, in_main_worktree, load_actors, main_worktree, require_own_moot_folder
from moot.runtimes import running_roles
from moot.scaffold.adoption import adopt, write_actors
from moot.scaffold.files_of_project import update_gitignore
from moot.scaffold.installation import install_and_report, update_suggestions, write_moot_toml
from moot.scaffold.journal import Journal, journal_path, read_journal, write_journal
from moot.scaffold.options import InitOptions, InitResult
from moot.scaffold.plan import adoptable, plan_adoption, plan_new_team
from moot.scaffold.role_keys import visible_name
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound
from pyro_mcp.host.files import locked, state_home


def init(options: InitOptions, project: Path | None = None) -> InitResult | None:
    """Make a team's agents for a project, with their keys, and install its files; return None if the person refuses.

    A run that was interrupted is continued by the next one. Raises `PyroError`.
    """
    project = (project or Path.cwd()).absolute()
    _require_main_worktree(project)
    require_own_moot_folder(project)
    if not _is_in_repository(project):
        options.say(f"Warning: {project} doesn't look like a git repository; 'moot up' needs one (git init).")
    with alone_in(project):
        if options.update_suggestions:
            return update_suggestions(options, project)
        journal = read_journal(project)
        if options.force:
            _require_no_agents(project)
        if journal is None:
            if load_actors(project) is not None and not (options.force or options.adopt_fresh_install):
                raise Conflict(
                    f"{ACTORS_JSON} already exists.",
                    hint="'moot init --force' gives all agents new keys and writes all files anew\n"
                    "'moot init --update-suggestions' only compares the project's files again",
                )
            found = _new_journal(options, project)
            if found is None:
                return None
            journal = found
        else:
            _announce_resumption(options, journal)
        return _complete(options, project, journal)


def _new_journal(options: InitOptions, project: Path) -> Journal | None:
    """Ask the server, then the person; return the plan, None when the person refuses."""
    credential = require_credential(options.profile, options.api_url)
    options.say(f"Using profile {credential.profile} (authenticated on {credential.api_url})")
    old = load_actors(project)
    with SpaceClient(credential.api_url, credential.token) as space:
        where = _where(space, credential, None if options.fresh else old)
        agents = space.my_agents()
        if options.fresh:
            journal = plan_new_team(options, where, project, agents)
            options.say(f"A new team of {len(journal.members)} agents in the new space {journal.space_name}:")
        else:
            options.say(f"Fetched your space: {where.space_id} ({where.space_name})")
            journal = plan_adoption(options, where, project, agents, old)
            free = adoptable(agents, where.space_id, force=options.force)
            what = "agents" if options.force else "keyless agents"
            more = (
                "" if {one.actor_id for one in free} == {one.actor_id for one in journal.members} else " The team gets:"
            )
            options.say(f"Found {len(free)} {what} there{'.' if more else ':'}{more}")
    for one in journal.members:
        options.say(f"  - {one.display_name:<16} ({one.actor_id or 'new'})")
    if options.force and not options.agree(
        "All these agents get new keys, and their old keys become invalid. Continue?"
    ):
        return None
    if options.adopt_fresh_install and not options.agree(
        "CLAUDE.md, .claude and .devcontainer of the project are overwritten. Continue?"
    ):
        return None
    return journal


def _where(space: SpaceClient, credential: Credential, old: Actors | None) -> Journal:
    """Return an empty plan for the space that the project has, else for the default space of the person."""
    if old is not None and old.api_url == credential.api_url and old.space_id:
        return Journal(old.api_url, old.space_id, visible_name(old.space_name), "", ())
    me = space.me()
    if not me.default_space_id:
        raise NotFound("your account has no default space", hint="'moot server user add' makes a person with one")
    try:
        name = space.space(me.default_space_id).name or me.default_space_id
    except (InvalidRequest, NotFound):  # some servers have no such call; the name is only shown
        name = me.default_space_id
    return Journal(credential.api_url, me.default_space_id, visible_name(name), "", ())


def _heading(journal: Journal) -> str:
    if all(one.api_key for one in journal.members):
        return "The agents keep their keys:"
    if journal.new_space:
        return "Making agents..."
    return "Giving all agents new keys..." if journal.force else "Rotating keys for keyless agents..."


def _announce_resumption(options: InitOptions, journal: Journal) -> None:
    """Say that an interrupted run goes on. Raises `Conflict` when this run asks for something else."""
    asked = options.template.removeprefix("mootup/") if options.template else None
    other_template = asked is not None and journal.template not in (asked, str(Path(asked).absolute()))
    other_roles = options.roles and set(options.roles) != {one.role for one in journal.members}
    if other_template or other_roles or (options.fresh and not journal.new_space):
        raise Conflict(
            f"an interrupted 'moot init' for the team {journal.template or 'custom'} holds keys of agents",
            hint="run 'moot init' without --template, --roles and --fresh to complete it",
        )
    left = sum(not one.api_key for one in journal.members)
    options.say(f"Continuing an interrupted run: {left} of {len(journal.members)} agents need a key.")


def _complete(options: InitOptions, project: Path, journal: Journal) -> InitResult:
    """Do all steps that change something. Each step may be repeated; after the last one, remove the journal."""
    added = update_gitignore(project)  # before the first key is there
    write_journal(project, journal)
    options.say(f"\n{_heading(journal)}")
    credential = require_credential(options.profile, journal.api_url)
    with SpaceClient(credential.api_url, credential.token) as space:
        journal = adopt(space, project, journal, options.say)
    write_actors(project, journal)
    options.say(f"Wrote {ACTORS_JSON:<24} ({len(journal.members)} agents, chmod 600)")
    team, folder = journal.team()
    moot_toml, warnings = write_moot_toml(options, project, journal, team)
    if added:
        options.say(f"Updated .gitignore             ({added} entries added)")
    result = install_and_report(
        options, project, journal, team, folder, moot_toml=moot_toml, warnings=warnings, rotated=True
    )
    journal_path(project).unlink()
    for one in warnings:
        options.say(f"Warning: {one}")
    options.say("\nCommit the new files before 'moot up': agents see only what is committed.")
    options.say("Done. See .moot/init-report.md for details and next steps.")
    return result


def _is_in_repository(project: Path) -> bool:
    try:
        main_worktree(project)
    except NotFound:
        return False
    return True


def _require_main_worktree(project: Path) -> None:
    main = in_main_worktree(project)
    if main != project.resolve():
        raise Conflict(f"{project} is a linked worktree", hint=f"run the command in the main one: cd {main}")


def _require_no_agents(project: Path) -> None:
    """Raise `Conflict` when agents run: they would go on with keys that are not valid any more."""
    running = running_roles(project)
    if running:
        raise Conflict(
            f"agents run with the keys that would become invalid: {', '.join(running)}",
            hint="end them first: moot down",
        )


@contextmanager
def alone_in(project: Path) -> Iterator[None]:
    """Let one process at a time work on a project; nothing is made in the project for it."""
    name = hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:16]
    path = state_home("moot") / f"init-{name}.lock"
    with locked(path, deadline_seconds=0, what=f"'moot init' in {project}"):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
