"""Codex, as its release 0.169 behaves."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

import tomlkit

from moot.agents.place import AgentPlace, PlaceFiles
from moot.agents.screen import Screen
from moot.harness.interface import (
    UNATTENDED_MODES,
    AgentSettings,
    hook_command,
    server_commands,
    server_variables,
)
from moot.harness.user_files import edit_toml, json_object
from pyro_mcp.errors import InvalidRequest

_MODELS_OF_ANOTHER = ("opus", "sonnet", "haiku", "best", "default", "opusplan", "claude-")
_SANDBOX = {"acceptEdits": "workspace-write", "default": "workspace-write", "plan": "read-only"}
_EVENTS = ("SessionStart", "UserPromptSubmit", "PostToolUse", "PermissionRequest", "Stop", "Interrupt", "SessionEnd")
_SKILL = re.compile(r"\$(?=[^\s\d])")
_HOOK_SECONDS = 10
_PROMPT = "\u203a "
_EMPTY_PROMPT = f"{_PROMPT}Ask Codex to do anything"


class Codex:
    """Codex in a terminal, with MCP servers and hooks on its command line: it reads no settings file for one launch."""

    name = "codex"
    program = "codex"
    install_hint = "install it with: npm install --global @openai/codex"
    reports_state = True
    compact_command = "/compact"
    clear_command = "/clear"

    def check(self, agent: AgentSettings) -> None:
        if agent.model is not None and agent.model.startswith(_MODELS_OF_ANOTHER):
            raise InvalidRequest(
                f"agents.{agent.role}.model: {agent.model!r} is a model of Claude Code",
                hint="name a model of codex, or remove the line to use its own default",
            )

    def check_root(self, permission_mode: str, environ: Mapping[str, str]) -> None:
        pass  # it works for root too

    def argv(self, agent: AgentSettings, place: AgentPlace, *, prompt: str, permission_mode: str) -> list[str]:
        # Codex then runs the hooks of the launch without asking, and also the hooks of other files.
        argv = [self.program, "--dangerously-bypass-hook-trust"]
        if permission_mode in UNATTENDED_MODES:
            argv.append("--dangerously-bypass-approvals-and-sandbox")
        else:
            argv += ["--ask-for-approval", "on-request", "--sandbox", _SANDBOX[permission_mode]]
        if agent.model is not None:
            argv += ["--model", agent.model]
        effort = agent.model_reasoning_effort or agent.effort
        settings = {} if effort is None else {"model_reasoning_effort": json.dumps(effort)}
        for name, value in {**settings, **_servers(place), **_hooks(place)}.items():
            argv += ["--config", f"{name}={value}"]
        return [*argv, "--", prompt] if prompt else argv

    def variables(self, agent: AgentSettings, place: AgentPlace, *, permission_mode: str) -> Mapping[str, str]:
        return {}

    def seed(
        self,
        agent: AgentSettings,
        place: AgentPlace,
        files: PlaceFiles,
        *,
        environ: Mapping[str, str],
        permission_mode: str,
    ) -> None:
        edit_toml(files, f"{_folder(place, environ)}/config.toml", lambda found: _trust(found, place.tree))

    def logged_in(self, place: AgentPlace, files: PlaceFiles, *, environ: Mapping[str, str]) -> bool:
        found = json_object(files, f"{_folder(place, environ)}/auth.json")
        return bool(environ.get("OPENAI_API_KEY") or found.get("OPENAI_API_KEY") or found.get("tokens"))

    def startup_key(self, screen: str) -> str:
        return ""

    def startup_question(self, screen: str) -> str:
        return ""

    def prompt_is_empty(self, screen: Screen) -> bool | None:
        """Look at the line with the cursor, which a menu hides; another mode or view has another mark or words."""
        if not screen.shows_cursor or screen.text(len(screen.rows) - 1).lstrip().startswith("enter "):
            return None
        if (screen.text(screen.row), screen.column) == (_EMPTY_PROMPT, 2):
            return True
        for row in range(screen.row, -1, -1):
            if screen.text(row).startswith(_PROMPT):
                return None if screen.text(row) == _EMPTY_PROMPT else False
            if not screen.text(row).startswith("  "):
                break
        return None

    def inert(self, text: str) -> str:
        """Return a text in which no `$name` calls a skill, wherever it is."""
        return _SKILL.sub("$ ", text)


def _folder(place: AgentPlace, environ: Mapping[str, str]) -> str:
    return environ.get("CODEX_HOME") or f"{place.home}/.codex"


def _servers(place: AgentPlace) -> dict[str, str]:
    found = {}
    environment = ", ".join(f"{name} = {json.dumps(value)}" for name, value in server_variables(place).items())
    for name, command in server_commands(place).items():
        found[f"mcp_servers.{name}.command"] = json.dumps(command[0])
        found[f"mcp_servers.{name}.args"] = json.dumps(command[1:])
        found[f"mcp_servers.{name}.env"] = f"{{ {environment} }}"
    return found


def _hooks(place: AgentPlace) -> dict[str, str]:
    found = {}
    for event in _EVENTS:
        command = json.dumps(shlex.join([*hook_command(place, event), "codex"]))
        hook = f'{{ type = "command", command = {command}, timeout = {_HOOK_SECONDS} }}'
        found[f"hooks.{event}"] = f"[{{ hooks = [{hook}] }}]"
    return found


def _trust(found: tomlkit.TOMLDocument, tree: str) -> None:
    projects = found.setdefault("projects", tomlkit.table(is_super_table=True))
    projects.setdefault(tree, tomlkit.table()).setdefault("trust_level", "trusted")
