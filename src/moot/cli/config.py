"""moot config"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyro_mcp.command_line import Verbs, print_json, verb

if TYPE_CHECKING:
    from moot.config import AgentConfig, MootConfig

_OF_AGENT = (
    *("display_name", "profile", "startup_prompt", "harness", "model", "effort", "model_reasoning_effort"),
    *("theme", "env"),
)
"""The keys of a role's table in `moot.toml`."""


def add(verbs: Verbs) -> None:
    group = verb(verbs, "config", "show or change the configuration of the project", _show, example="moot config")
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=False, help="without one: show")
    verb(inner, "show", "show the configuration", _show, example="moot config show")
    change = verb(inner, "set", "set a key of [convo] in moot.toml", _set, example="moot config set space_id spc_1")
    change.add_argument("key", metavar="KEY", help="api_url, space_id or template")
    change.add_argument("value", metavar="VALUE", help="the new value")
    focus = verb(
        inner, "focus", "move the agents of the project to another space", _focus, example="moot config focus spc_1"
    )
    focus.add_argument("space_id", metavar="SPACE", help="the id of the space")
    focus.add_argument("--profile", metavar="NAME", help="the login to use (default)")
    provision = verb(
        inner, "provision", "make an agent for each role that has none", _provision, example="moot config provision"
    )
    provision.add_argument("--fresh", action="store_true", help="make new agents for all roles")
    provision.add_argument("--profile", metavar="NAME", help="the login to use (default)")


def _show(arguments: argparse.Namespace) -> int:
    from moot.config import require_config  # noqa: PLC0415 - only what a verb needs is imported

    config = require_config()
    print_json(_as_json(config)) if arguments.json else print("\n".join(_lines(config)))
    return 0


def _lines(config: MootConfig) -> list[str]:
    lines = [
        f"API URL: {config.api_url}",
        f"Space ID: {config.space_id or '(not set)'}",
        f"Harness: {config.harness_type}",
        f"Runtime: {config.runtime}",
        f"Permission mode: {config.permission_mode}",
    ]
    if config.default_model or config.default_effort:
        chosen = f"model={config.default_model or '(unset)'}  effort={config.default_effort or '(unset)'}"
        lines.append(f"Global defaults: {chosen}")
    return [*lines, "Roles:", *(_role_line(agent) for agent in config.agents.values())]


def _role_line(agent: AgentConfig) -> str:
    words = [f"harness={agent.harness}", f"model={_from(agent, 'model')}", f"effort={_from(agent, 'effort')}"]
    if agent.model_reasoning_effort:
        words.append(f"model_reasoning_effort={_from(agent, 'model_reasoning_effort')}")
    words.append(f"theme={_theme(agent)}")
    if agent.env:
        words.append(f"env={','.join(agent.env)}")
    return f"  {agent.role:<16} {'  '.join(words)}"


def _from(agent: AgentConfig, key: str) -> str:
    """Return a value, and whether it is the global one."""
    value = getattr(agent, key)
    return "(unset)" if value is None else f"{value}" if key in agent.own else f"{value} (default)"


def _theme(agent: AgentConfig) -> str:
    from moot.team_profile import default_theme  # noqa: PLC0415

    if agent.theme:
        return agent.theme
    default = default_theme(agent.role)
    return f"{default} (role default)" if default else "(unset)"


def _as_json(config: MootConfig) -> dict[str, Any]:
    """Return the configuration as the tables of `moot.toml`, with the defaults."""
    convo = {"api_url": config.api_url, "space_id": config.space_id, "template": config.template}
    harness = {
        "type": config.harness_type,
        "runtime": config.runtime,
        "bottle_backend": config.bottle_backend,
        "permission_mode": config.permission_mode,
        "model": config.default_model,
        "effort": config.default_effort,
        "model_reasoning_effort": config.default_reasoning_effort,
        "launch_stagger_seconds": config.launch_stagger_seconds,
        "human_interface": config.human_interface,
    }
    agents = {role: {name: getattr(agent, name) for name in _OF_AGENT} for role, agent in config.agents.items()}
    return {"path": str(config.path), "convo": convo, "harness": harness, "agents": agents}


def _set(arguments: argparse.Namespace) -> int:
    from moot.config import require_config, set_in_project  # noqa: PLC0415

    config = require_config()
    set_in_project(config.path, arguments.key, arguments.value)
    if arguments.json:
        print_json({"path": str(config.path), "key": arguments.key, "value": arguments.value})
    else:
        print(f"Set [convo].{arguments.key} = {arguments.value!r} in {config.path.name}")
    return 0


def _focus(arguments: argparse.Namespace) -> int:
    from moot.config import require_config  # noqa: PLC0415
    from moot.scaffold import set_focus  # noqa: PLC0415

    config = require_config()
    moved = set_focus(config, arguments.space_id, profile=arguments.profile)
    if arguments.json:
        print_json({"space_id": arguments.space_id, "agents": {role: asdict(one) for role, one in moved.items()}})
    else:
        print(f"{len(moved)} agents work in {arguments.space_id}: {', '.join(moved)}")
        print(f"Set [convo].space_id in {config.path.name}; restart running agents: 'moot down', then 'moot up'")
    return 0


def _provision(arguments: argparse.Namespace) -> int:
    from moot.config import require_config  # noqa: PLC0415
    from moot.scaffold import provision  # noqa: PLC0415

    out = sys.stderr if arguments.json else sys.stdout
    made = provision(
        require_config(),
        fresh=arguments.fresh,
        profile=arguments.profile,
        say=lambda line: print(line, file=out, flush=True),
    )
    if arguments.json:
        print_json({"agents": {role: asdict(one) for role, one in made.items()}})
    elif made:
        print("\n".join(f"Provisioned {role}: {one.actor_id}" for role, one in made.items()))
        print(f"Wrote .moot/actors.json ({len(made)} agents)")
    else:
        print("Each role of moot.toml has an agent with a key already.")
    return 0
