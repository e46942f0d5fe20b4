"""The manifest of one role's bottle: what the project's own manifest says of it, and the way to the space.

`[bottles.ROLE]` of bottles.toml, or else `[bottles.team]`, says what the agents of roles may touch; without either, a
bottle reaches its model and the space. `[agents.ROLE]` may add a prompt, skills and a kept login. The key of the space
stays on the host: the guest has a placeholder of a token for one port of this host's loopback.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claude_bottle import LoadedManifest, Manifest, load_manifest
from moot.bottled.guest_hooks import TOKEN_VARIABLE, hooks
from moot.config import AgentConfig
from moot.harness import TOOLS_SERVER
from pyro_mcp.errors import InvalidRequest

SPACE_HOST = "convo.bottle.internal"
"""The name by which a bottle reaches the door of its role, and nothing else of this host."""
TEAM = "team"
HARNESSES = {"claude-code": "claude"}
"""The harnesses that run in bottles, by their names in moot.toml, with their names in bottles.toml."""
_SECRET = "${secret:"  # noqa: S105 - how moot.toml refers to one
_KEYS = ("ANTHROPIC_API_KEY",)


def role_manifest(
    project: Path, agent: AgentConfig, *, port: int, prompt: str, permission_mode: str, environ: Mapping[str, str]
) -> LoadedManifest:
    """Return the manifest of a role's bottle; `port` is that of its door, `environ` what its program finds.

    Raises `InvalidRequest` for a harness that no bottle runs, and for a secret that would enter the bottle.
    """
    loaded = load_manifest(project)
    known = loaded.manifest
    name = agent.role if agent.role in known.bottles else TEAM
    bottle = known.bottles[name].model_dump(mode="json", exclude_none=True) if name in known.bottles else {}
    bottle["egress"] = [*bottle.get("egress", []), {"host": SPACE_HOST, "upstream": f"http://127.0.0.1:{port}"}]
    bottle["secrets"] = {**bottle.get("secrets", {}), TOKEN_VARIABLE: {"env": TOKEN_VARIABLE, "hosts": [SPACE_HOST]}}
    bottle["env"] = {**bottle.get("env", {}), **_variables(agent), **environ}
    own = known.agents[agent.role].model_dump(mode="json", exclude_none=True) if agent.role in known.agents else {}
    own |= {"bottle": agent.role, "harness": harness_in_bottle(agent.role, agent.harness)}
    own |= {} if agent.model is None else {"model": agent.model}
    own["args"] = [*own.get("args", []), *_arguments(agent, prompt, permission_mode)]
    manifest = Manifest.from_json_obj({"bottles": {agent.role: bottle}, "agents": {agent.role: own}})
    return dataclasses.replace(loaded, manifest=manifest)


def harness_in_bottle(role: str, harness: str) -> str:
    """Return the name that bottles have for the harness of a role; raise `InvalidRequest` when they have none."""
    if harness not in HARNESSES:
        raise InvalidRequest(
            f"agents.{role}.harness: the runtime bottle does not run {harness}",
            hint=f"choose {', '.join(HARNESSES)}, or the runtime local",
        )
    return HARNESSES[harness]


def _variables(agent: AgentConfig) -> dict[str, str]:
    """Return the role's variables for the guest; the API key of its model never enters it."""
    for name, value in agent.env.items():
        if _SECRET in value and name not in _KEYS:
            raise InvalidRequest(
                f"agents.{agent.role}.env.{name} has a secret, which would enter the bottle",
                hint=f"declare it in bottles.toml instead: [bottles.{agent.role}.secrets.{name}]",
            )
    return {name: value for name, value in agent.env.items() if name not in _KEYS}


def _arguments(agent: AgentConfig, prompt: str, permission_mode: str) -> Sequence[str]:
    """Return what Claude Code gets beside the arguments of its bottle: its MCP server, its hooks and its task."""
    server: dict[str, Any] = {"type": "http", "url": f"http://{SPACE_HOST}/mcp"}
    server["headers"] = {"Authorization": f"Bearer ${{{TOKEN_VARIABLE}}}"}
    settings = {
        "promptSuggestionEnabled": False,
        "permissions": {"allow": [f"mcp__{TOOLS_SERVER}"]},
        "hooks": hooks(SPACE_HOST),
    }
    words = ["--mcp-config", json.dumps({"mcpServers": {TOOLS_SERVER: server}}), "--settings", json.dumps(settings)]
    if permission_mode != "bypassPermissions":
        words += ["--permission-mode", permission_mode]
    if agent.effort is not None:
        words += ["--effort", agent.effort]
    return [*words, "--", prompt] if prompt else words
