"""`moot.toml` as a checked, frozen object. A value comes from the role, else from `[harness]`, else from a default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moot.client.server_address import DEFAULT_API_URL
from moot.config.places import MOOT_TOML, find_moot_toml
from moot.known_words import (
    BOTTLE_BACKENDS,
    DEFAULT_HARNESS,
    DEFAULT_PERMISSION_MODE,
    DEFAULT_PROFILE,
    DEFAULT_RUNTIME,
    EFFORTS,
    HARNESSES,
    PERMISSION_MODES,
    REASONING_EFFORTS,
    RUNTIMES,
    SKIP_PERMISSIONS,
    colour_name,
    model_name,
    role_name,
    variable_name,
)
from moot.toml_tables import Check, TableReader, a_line, a_number, a_text, dotted, http_url, one_of, read_toml, table_of
from pyro_mcp.errors import NotFound
from pyro_mcp.hints import near_match

_MOST_ROLES = 50
_SECRET = re.compile(r"\$\{secret:(?P<name>[^}]*)\}?")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class AgentConfig:
    """One role. `own` has the keys that its table in the file sets; the others are inherited."""

    role: str
    display_name: str
    profile: str
    startup_prompt: str
    harness: str
    model: str | None
    effort: str | None
    model_reasoning_effort: str | None
    theme: str | None
    env: Mapping[str, str]
    own: frozenset[str]


@dataclass(frozen=True)
class MootConfig:
    """A whole `moot.toml`; `agents` has the roles in the order of the file."""

    path: Path
    api_url: str
    space_id: str | None
    template: str | None
    harness_type: str
    runtime: str
    bottle_backend: str
    permission_mode: str
    default_model: str | None
    default_effort: str | None
    default_reasoning_effort: str | None
    launch_stagger_seconds: float
    human_interface: str
    agents: Mapping[str, AgentConfig]

    @property
    def root(self) -> Path:
        """The folder of the file."""
        return self.path.parent

    @property
    def roles(self) -> list[str]:
        return list(self.agents)

    def agent(self, role: str) -> AgentConfig:
        """Return a role. Raises `NotFound` with the known ones."""
        if role not in self.agents:
            known = ", ".join(self.agents) or "none"
            hint = near_match(role, self.agents) or f"the roles are in {self.path}"
            raise NotFound(f"unknown role {role!r}. Available: {known}", hint=hint)
        return self.agents[role]


def find_config(start: Path | None = None) -> MootConfig | None:
    """Return the configuration of the project that a folder (the current one) is in; None without a `moot.toml`."""
    path = find_moot_toml(start)
    return None if path is None else read_config(path)


def require_config(start: Path | None = None) -> MootConfig:
    """Return what `find_config` returns. Raises `NotFound` without a `moot.toml`."""
    found = find_config(start)
    if found is None:
        raise NotFound("no moot.toml found here or in a folder above", hint="run 'moot init' in the project first")
    return found


def read_config(path: Path) -> MootConfig:
    """Return the configuration in a file. Raises `InvalidRequest` that names each wrong field."""
    return config_of(read_toml(path), path)


def without_agents(root: Path, runtime: str) -> MootConfig:
    """Return the configuration of a project that has no valid one, with a runtime and without agents."""
    return config_of({"harness": {"runtime": runtime}}, root / MOOT_TOML)


def config_of(document: Mapping[str, Any], path: Path) -> MootConfig:
    """Return the configuration in a document; `path` is where it is or will be. Raises `InvalidRequest`."""
    reader = TableReader(path.name if path.name == MOOT_TOML else str(path))
    tables = {"convo": _any_table, "harness": _any_table, "agents": _any_table}
    found = reader.read(document, "", tables)
    convo = reader.read(found.get("convo", {}), "convo", _CONVO)
    harness = reader.read(found.get("harness", {}), "harness", _HARNESS)
    agents = _agents(reader, found.get("agents", {}), harness)
    modes = [harness[key] for key in ("permission_mode", "permissions") if key in harness]
    if len(set(modes)) > 1:
        reader.report("harness.permissions", f"means {modes[1]}, but permission_mode is {modes[0]}: remove one of them")
    chosen = harness.get("human_interface") or ("product" if "product" in agents else next(iter(agents), ""))
    if agents and chosen not in agents:
        message = f"there is no role {chosen!r}; {near_match(chosen, agents) or 'choose from ' + ', '.join(agents)}"
        reader.report("harness.human_interface", message)
    reader.finish()
    return MootConfig(
        path=path,
        api_url=convo.get("api_url", DEFAULT_API_URL),
        space_id=convo.get("space_id"),
        template=convo.get("template"),
        harness_type=harness.get("type", DEFAULT_HARNESS),
        runtime=harness.get("runtime", DEFAULT_RUNTIME),
        bottle_backend=harness.get("bottle_backend", BOTTLE_BACKENDS[0]),
        permission_mode=next(iter(modes), DEFAULT_PERMISSION_MODE),
        default_model=harness.get("model"),
        default_effort=harness.get("effort"),
        default_reasoning_effort=harness.get("model_reasoning_effort"),
        launch_stagger_seconds=harness.get("launch_stagger_seconds", 0.0),
        human_interface=chosen,
        agents=agents,
    )


def default_prompt(display_name: str) -> str:
    """Return the first prompt of a role whose file has none."""
    return (
        f"You are the {display_name} agent of this team. Call the tool orientation of the server convo, subscribe to "
        "your space with the tool subscribe of convo-channel, and post a status update with update_status. "
        "Then follow CLAUDE.md."
    )


def _agents(reader: TableReader, tables: Mapping[str, object], harness: Mapping[str, Any]) -> dict[str, AgentConfig]:
    agents: dict[str, AgentConfig] = {}
    if len(tables) > _MOST_ROLES:
        reader.report("agents", f"has more than {_MOST_ROLES} roles")
        return agents
    folded: dict[str, str] = {}
    for role, table in tables.items():
        where = dotted("agents", role)
        try:
            role_name(role)
        except ValueError as error:
            reader.report(where, str(error))
            continue
        if (other := folded.setdefault(role.lower(), role)) != role:
            reader.report(where, f"differs from the role {other!r} only in the case of its letters")
        agents[role] = _agent(role, reader.read(table, where, _AGENT), harness)
    return agents


def _agent(role: str, own: Mapping[str, Any], harness: Mapping[str, Any]) -> AgentConfig:
    display_name = own.get("display_name", role.replace("_", " ").title())
    return AgentConfig(
        role=role,
        display_name=display_name,
        profile=own.get("profile", DEFAULT_PROFILE),
        startup_prompt=own.get("startup_prompt", "").strip() or default_prompt(display_name),
        harness=own.get("harness") or harness.get("type", DEFAULT_HARNESS),
        model=own.get("model", harness.get("model")),
        effort=own.get("effort", harness.get("effort")),
        model_reasoning_effort=own.get("model_reasoning_effort", harness.get("model_reasoning_effort")),
        theme=own.get("theme"),
        env=own.get("env", {}),
        own=frozenset(own),
    )


def _any_table(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    return value


def _with_secrets(value: object) -> str:
    """Return the value of a variable; each `${secret:` in it must name one secret."""
    text = a_text(value)
    for found in _SECRET.finditer(text):
        if not found[0].endswith("}") or not _SECRET_NAME.fullmatch(found["name"]):
            raise ValueError("a secret is written ${secret:NAME}; its name has letters, digits, '_', '.' and '-'")
    return text


def _permissions(value: object) -> str:
    text = one_of((SKIP_PERMISSIONS, *PERMISSION_MODES))(value)
    return "bypassPermissions" if text == SKIP_PERMISSIONS else str(text)


_CONVO: Mapping[str, Check] = {"api_url": http_url, "space_id": a_line, "template": a_line}
_OF_BOTH: Mapping[str, Check] = {
    "model": model_name,
    "effort": one_of(EFFORTS),
    "model_reasoning_effort": one_of(REASONING_EFFORTS),
}
_AGENT: Mapping[str, Check] = {
    "display_name": a_line,
    "profile": a_line,
    "startup_prompt": a_text,
    "harness": one_of(HARNESSES),
    "theme": colour_name,
    "env": table_of(variable_name, _with_secrets),
    **_OF_BOTH,
}
_HARNESS: Mapping[str, Check] = {
    "type": one_of(HARNESSES),
    "runtime": one_of(RUNTIMES),
    "bottle_backend": one_of(BOTTLE_BACKENDS),
    "permissions": _permissions,
    "permission_mode": one_of(PERMISSION_MODES),
    "launch_stagger_seconds": a_number(0, 3600),
    "human_interface": a_text,
    **_OF_BOTH,
}
