"""The steps of `moot init` that write files of a project, and the report about them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from moot.config import ACTORS_JSON, MOOT_TOML, load_actors, read_config
from moot.scaffold.files_of_project import TEMPLATES_DIR, Installed, bundles, install
from moot.scaffold.journal import Journal, Member, journal_path, team_of
from moot.scaffold.options import InitOptions, InitResult, RoleAgent
from moot.scaffold.report import report_text
from moot.scaffold.role_keys import visible_name
from moot.scaffold.team_choice import choose_team
from moot.team_profile import TeamProfile, generate_claude_md, generate_moot_toml, resolve_template
from pyro_mcp.errors import NotFound, PyroError
from pyro_mcp.host.files import write_durable


def write_moot_toml(
    options: InitOptions, project: Path, journal: Journal, team: TeamProfile
) -> tuple[Literal["written", "kept"], tuple[str, ...]]:
    """Write `moot.toml` unless the project has one; return what was done, and what is wrong in the one that it has."""
    path = project / MOOT_TOML
    if os.path.lexists(path) and not options.force and not journal.force:
        options.say(f"Skipped {MOOT_TOML:<22} (exists; re-run with --force to overwrite)")
        return "kept", _misfits(path, journal)
    write_durable(path, generate_moot_toml(team, journal.api_url, journal.space_id), mode=0o644)
    options.say(f"Wrote {MOOT_TOML:<24} ({len(team.roles)} roles, template={team.name})")
    return "written", ()


def _misfits(path: Path, journal: Journal) -> tuple[str, ...]:
    try:
        config = read_config(path)
    except PyroError as error:
        return (f"{MOOT_TOML} is not valid: {error.message}",)
    found = []
    if config.api_url != journal.api_url:
        found.append(f"{MOOT_TOML} names the server {config.api_url}: moot config set api_url {journal.api_url}")
    if config.space_id != journal.space_id:
        found.append(f"{MOOT_TOML} names another space: moot config set space_id {journal.space_id}")
    if missing := [role for role in config.roles if role not in {one.role for one in journal.members}]:
        found.append(f"{MOOT_TOML} has roles without a key: {', '.join(missing)}; 'moot config provision' makes them")
    return tuple(found)


def install_and_report(
    options: InitOptions,
    project: Path,
    journal: Journal,
    team: TeamProfile,
    folder: Path | None,
    *,
    moot_toml: Literal["written", "kept"],
    warnings: tuple[str, ...] = (),
    rotated: bool,
) -> InitResult:
    """Install the files of a project and write the report; return what was done. `rotated`: agents got keys."""
    more = {"space_id": journal.space_id, "space_name": journal.space_name, "api_url": journal.api_url}
    text = generate_claude_md(team, folder or TEMPLATES_DIR, visible_name(project.name or "project"), more)
    result = InitResult(
        journal.api_url,
        journal.space_id,
        journal.space_name,
        team.name,
        agents={one.role: RoleAgent(one.actor_id, one.display_name) for one in journal.members},
        files=_install_files(options, project, text),
        moot_toml=moot_toml,
        report=journal_path(project).with_name("init-report.md"),
        warnings=warnings,
    )
    write_durable(result.report, report_text(result, rotated=rotated))
    return result


def _install_files(options: InitOptions, project: Path, instructions: str) -> tuple[Installed, ...]:
    found: list[Installed] = []
    for bundle in bundles(instructions):
        one = install(project, bundle, overwrite=options.adopt_fresh_install)
        if one.kind == "skill" and not found:
            options.say("\nInstalling .claude/skills/:")
        elif one.kind != "skill" and found and found[-1].kind == "skill":
            options.say("")
        mark = f"⚠ exists — staged at {one.path}" if one.outcome == "staged" else f"✓ {one.outcome}"
        name = f"  {one.name + '/':<24}" if one.kind == "skill" else f"{one.name:<26}"
        options.say(f"{name} {mark}")
        found.append(one)
    return tuple(found)


def update_suggestions(options: InitOptions, project: Path) -> InitResult:
    """Look at the files again, without the network, and stage those that the project has its own version of."""
    actors = load_actors(project)
    if actors is None:
        raise NotFound(f"{ACTORS_JSON} not found.", hint="run 'moot init' first")
    members = tuple(Member(role, one.display_name, one.actor_id) for role, one in actors.actors.items())
    template, team = choose_team(None, project, [one.display_name for one in members])
    team = team_of(team or TeamProfile("custom"), members)
    journal = Journal(actors.api_url, actors.space_id, actors.space_name, "", members)
    again = replace(options, adopt_fresh_install=False)
    folder = resolve_template(template) if template else None
    result = install_and_report(again, project, journal, team, folder, moot_toml="kept", rotated=False)
    options.say("\nDone. See .moot/init-report.md for details and next steps.")
    return result
