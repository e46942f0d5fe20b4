"""`team.toml` as an object: the roles of a team, its workflow, and who owns which resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moot.known_words import DEFAULT_HARNESS, EFFORTS, HARNESSES, colour_name, model_name, role_name
from moot.toml_tables import Check, TableReader, a_line, a_text, list_of, one_of, read_toml, table_of


@dataclass(frozen=True)
class RoleProfile:
    """One role of a team."""

    name: str
    display_name: str
    harness: str = DEFAULT_HARNESS
    responsibilities: str = ""
    startup_prompt: str = ""
    model: str | None = None
    effort: str | None = None
    theme: str | None = None


@dataclass(frozen=True)
class WorkflowProfile:
    """How work goes from role to role. `threads` has the prefix of each kind of thread."""

    description: str = ""
    pipeline: tuple[str, ...] = ()
    threads: Mapping[str, str] = field(default_factory=dict)
    handoff_method: str = "mention"
    handoff_includes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GitProfile:
    """How the team uses git. `ownership` says which role owns the main branch and the stack."""

    description: str = ""
    strategy: str = "worktree"
    feature_branch: str = "feat/{slug}"
    agent_branch: str = "{role}/{slug}"
    merge_to_main: str = "squash"
    ownership: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResourceProfile:
    """Which role owns each resource that only one agent may use at a time."""

    description: str = ""
    owners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TeamProfile:
    """A team."""

    name: str
    description: str = ""
    version: str = "1.0"
    origin: str = ""
    roles: tuple[RoleProfile, ...] = ()
    workflow: WorkflowProfile = field(default_factory=WorkflowProfile)
    git: GitProfile = field(default_factory=GitProfile)
    resources: ResourceProfile = field(default_factory=ResourceProfile)

    @staticmethod
    def from_toml(path: Path) -> TeamProfile:
        """Return the team in a file. Raises `InvalidRequest` that names each wrong field."""
        reader = TableReader(str(path))
        profile = _team(reader, read_toml(path))
        reader.finish()
        return profile

    def role(self, name: str) -> RoleProfile | None:
        """Return a role by its name; None when there is none."""
        return next((one for one in self.roles if one.name == name), None)


def _team(reader: TableReader, document: Mapping[str, Any]) -> TeamProfile:
    top = reader.read(document, "", _TOP)
    if (version := top.get("toml_schema_version", "1")) != "1":
        reader.report("toml_schema_version", f"{version!r} is not known; this program reads version '1'")
    reader.read(top.get("archetype", {}), "archetype", dict.fromkeys(("id", "version", "diverged_at"), a_text))
    team = reader.read(top.get("team", {}), "team", _TEAM)
    roles = _roles(reader, top.get("roles", []))
    names = [one.name for one in roles]
    workflow, git, resources = top.get("workflow", {}), top.get("git", {}), top.get("resources", {})
    return TeamProfile(
        name=team.get("name", "unknown"),
        description=team.get("description", "").strip(),
        version=team.get("version", "1.0"),
        origin=team.get("origin", ""),
        roles=roles,
        workflow=_workflow(reader, workflow, names),
        git=_git(reader, git, names),
        resources=_resources(reader, resources, names),
    )


def _roles(reader: TableReader, found: list[object]) -> tuple[RoleProfile, ...]:
    roles: list[RoleProfile] = []
    for number, one in enumerate(found):
        where = f"roles[{number}]"
        values = reader.read(one, where, _ROLE)
        if "name" not in values:
            if not isinstance(one, dict) or "name" not in one:
                reader.report(f"{where}.name", "is missing")
            continue
        values = {key: value.strip() if isinstance(value, str) else value for key, value in values.items()}
        role = RoleProfile(**{"display_name": values["name"].replace("_", " ").title(), **values})
        for other in roles:
            if other.name.lower() == role.name.lower():
                reader.report(f"{where}.name", f"there is a role {other.name!r} already")
            if other.display_name.casefold() == role.display_name.casefold():
                reader.report(f"{where}.display_name", f"the role {other.name!r} has this name already")
        roles.append(role)
    return tuple(roles)


def _workflow(reader: TableReader, table: object, roles: list[str]) -> WorkflowProfile:
    found = reader.read(
        table, "workflow", {"description": a_text, "pipeline": list_of(one_of(roles)), **_TABLES_OF_WORKFLOW}
    )
    handoff = reader.read(found.get("handoff", {}), "workflow.handoff", {"method": a_line, "includes": list_of(a_line)})
    return WorkflowProfile(
        description=found.get("description", "").strip(),
        pipeline=tuple(found.get("pipeline", ())),
        threads=found.get("threads", {}),
        handoff_method=handoff.get("method", "mention"),
        handoff_includes=tuple(handoff.get("includes", ())),
    )


def _git(reader: TableReader, table: object, roles: list[str]) -> GitProfile:
    lines: dict[str, Check] = dict.fromkeys(("strategy", "feature_branch", "agent_branch", "merge_to_main"), a_line)
    owners = table_of(a_line, one_of(roles))
    found = reader.read(table, "git", {**lines, "description": a_text, "ownership": owners})
    return GitProfile(**{**found, "description": found.get("description", "").strip()})


def _resources(reader: TableReader, table: object, roles: list[str]) -> ResourceProfile:
    found = reader.read(table, "resources", {"description": a_text, "owners": table_of(a_line, one_of(roles))})
    return ResourceProfile(found.get("description", "").strip(), found.get("owners", {}))


def _as_it_is(value: object) -> object:
    return value


_TOP: Mapping[str, Check] = {
    "toml_schema_version": a_text,
    "roles": list_of(_as_it_is, most=50),
    **dict.fromkeys(("archetype", "team", "workflow", "git", "resources"), _as_it_is),
}
_TEAM: Mapping[str, Check] = {"name": a_line, "description": a_text, "version": a_line, "origin": a_text}
_TABLES_OF_WORKFLOW: Mapping[str, Check] = {"threads": table_of(a_line, a_line), "handoff": _as_it_is}
_ROLE: Mapping[str, Check] = {
    "name": role_name,
    "display_name": a_line,
    "harness": one_of(HARNESSES),
    "responsibilities": a_text,
    "startup_prompt": a_text,
    "model": model_name,
    "effort": one_of(EFFORTS),
    "theme": colour_name,
}
