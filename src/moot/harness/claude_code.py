"""Claude Code, as its release 2.1 behaves."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from moot.agents.place import AgentPlace, PlaceFiles
from moot.agents.screen import Screen
from moot.harness.interface import (
    CHANNEL_SERVER,
    TOOLS_SERVER,
    AgentSettings,
    hook_command,
    server_commands,
    server_variables,
)
from moot.harness.user_files import Json, edit_json, json_object, locked_as_by_the_program, table_of
from pyro_mcp.errors import HostNotReady

_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_OTHER_PROVIDERS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
_RULE, _PROMPT, _EXAMPLE = "\u2500" * 4, "\u276f", 'Try "'
_CHANNEL_DIALOG = "Loading development channels"
_CHANNEL_ANSWER = f"{_PROMPT} 1. I am using this for local development"
_KEY_DIALOG = "Detected a custom API key in your environment"
_DIALOG_END = "Enter to confirm"
_BYPASS = "bypassPermissions"
_ROOT_HINT = (
    'in [harness] of moot.toml, set runtime = "bottle", or another permission_mode such as "acceptEdits"; '
    "or run moot as an ordinary user. In a container without anything of yours, IS_SANDBOX=1 allows it"
)
_REFERENCE = re.compile("(?<![A-Za-z0-9_])@")
_MODE_WORD = re.compile("(ultra)(code|plan|review|think)", re.IGNORECASE)
_EVENTS: Mapping[str, str] = {
    "SessionStart": "",
    "UserPromptSubmit": "",
    "PostToolUse": "",
    "PostToolUseFailure": "",
    "PermissionRequest": "",
    "PermissionDenied": "",
    # After Esc no Stop comes, only this, a minute later.
    "Notification": "idle_prompt|permission_prompt|elicitation_dialog",
    "Stop": "",
    "StopFailure": "",
    "SessionEnd": "",
}
"""The events with a hook of the launch, and the matcher of each."""
_HOOK_SECONDS = 10
_LOCK_STALE_SECONDS = 10
"""When Claude Code takes over the lock of another one: the default of proper-lockfile, which it uses."""


class ClaudeCode:
    """Claude Code in a terminal, with its MCP servers and hooks in files of the launch."""

    name = "claude-code"
    program = "claude"
    install_hint = "install it with: npm install --global @anthropic-ai/claude-code"
    reports_state = True
    compact_command = "/compact"
    clear_command = "/clear"

    def check(self, agent: AgentSettings) -> None:
        pass  # it takes every model, effort and mode that moot.toml can have

    def check_root(self, permission_mode: str, environ: Mapping[str, str]) -> None:
        if permission_mode != _BYPASS or environ.get("IS_SANDBOX") == "1" or environ.get("CLAUDE_CODE_BUBBLEWRAP"):
            return
        raise HostNotReady(
            f"Claude Code refuses permission_mode {_BYPASS} when root runs it",
            hint=_ROOT_HINT,
        )

    def argv(self, agent: AgentSettings, place: AgentPlace, *, prompt: str, permission_mode: str) -> list[str]:
        argv = [self.program, "--permission-mode", permission_mode]
        argv += ["--dangerously-load-development-channels", f"server:{CHANNEL_SERVER}"]
        argv += ["--mcp-config", _mcp_file(place), "--settings", _settings_file(place)]
        if agent.model is not None:
            argv += ["--model", agent.model]
        if agent.effort is not None:
            argv += ["--effort", agent.effort]
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
        files.write(_mcp_file(place), _text(_servers(place)))
        files.write(_settings_file(place), _text(_settings(place)))
        path = _configuration_file(place, environ)
        with locked_as_by_the_program(files, f"{path}.lock", stale_seconds=_LOCK_STALE_SECONDS):
            edit_json(files, path, lambda found: _answer_first_questions(found, place))

    def logged_in(self, place: AgentPlace, files: PlaceFiles, *, environ: Mapping[str, str]) -> bool:
        if any(environ.get(name) for name in (*_KEYS, *_OTHER_PROVIDERS)):
            return True
        folder = environ.get("CLAUDE_CONFIG_DIR") or f"{place.home}/.claude"
        settings = json_object(files, f"{folder}/settings.json")
        return bool(
            json_object(files, f"{folder}/.credentials.json").get("claudeAiOauth")
            or json_object(files, _configuration_file(place, environ)).get("primaryApiKey")
            or settings.get("apiKeyHelper")
            or any(table_of(settings, "env").get(name) for name in (*_KEYS, *_OTHER_PROVIDERS))
        )

    def startup_key(self, screen: str) -> str:
        return "Enter" if _CHANNEL_DIALOG in screen and _CHANNEL_ANSWER in screen else ""

    def startup_question(self, screen: str) -> str:
        lines = [line.strip() for line in screen.splitlines() if line.strip()]
        if not lines or not lines[-1].startswith(_DIALOG_END) or self.startup_key(screen):
            return ""
        return "whether it may use your ANTHROPIC_API_KEY" if _KEY_DIALOG in screen else "something in a dialog"

    def prompt_is_empty(self, screen: Screen) -> bool | None:
        """Look at the box between two rules that the cursor is in; the grey example in it is not typed."""
        top = next((row for row in range(screen.row, -1, -1) if screen.text(row).startswith(_RULE)), None)
        end = next((row for row in range(screen.row, len(screen.rows)) if screen.text(row).startswith(_RULE)), None)
        if top is None or end is None or not screen.text(top + 1).startswith(_PROMPT) or top == end:
            return None
        typed = " ".join(screen.rows[top + 1 : end]).removeprefix(_PROMPT).strip()
        if typed and not typed.startswith(_EXAMPLE):
            return False
        return True if (screen.row, screen.column, end) == (top + 1, 2, top + 2) else None

    def inert(self, text: str) -> str:
        """Return a text in which no `@path` puts a file into the conversation, and no word changes the turn.

        Claude Code reads the file, or calls the agent, after an `@` that is the first character or follows a space; it
        has no permission rule for that. "ultrathink" and "ultracode" set the effort of the turn, or begin a workflow.
        """
        return _MODE_WORD.sub(r"\1-\2", _REFERENCE.sub(r"\\@", text))


def _mcp_file(place: AgentPlace) -> str:
    return f"{place.run_folder}/mcp.json"


def _settings_file(place: AgentPlace) -> str:
    return f"{place.run_folder}/settings.json"


def _configuration_file(place: AgentPlace, environ: Mapping[str, str]) -> str:
    return f"{environ.get('CLAUDE_CONFIG_DIR') or place.home}/.claude.json"


def _servers(place: AgentPlace) -> dict[str, Any]:
    variables = server_variables(place)
    return {
        "mcpServers": {
            name: {"type": "stdio", "command": command[0], "args": command[1:], "env": variables}
            for name, command in server_commands(place).items()
        }
    }


def _settings(place: AgentPlace) -> dict[str, Any]:
    return {
        # The user has chosen the mode bypassPermissions in moot.toml.
        "skipDangerousModePermissionPrompt": True,
        # A suggested next prompt looks like a typed one, and nothing is typed for an agent while something is there.
        "promptSuggestionEnabled": False,
        "permissions": {"allow": [f"mcp__{TOOLS_SERVER}", f"mcp__{CHANNEL_SERVER}"]},
        "hooks": {event: [{"matcher": matcher, "hooks": [_hook(place, event)]}] for event, matcher in _EVENTS.items()},
    }


def _hook(place: AgentPlace, event: str) -> dict[str, Any]:
    return {"type": "command", "command": shlex.join(hook_command(place, event)), "timeout": _HOOK_SECONDS}


def _answer_first_questions(found: Json, place: AgentPlace) -> None:
    """Record what a person would answer. For a git worktree, Claude Code looks for the trust of the main worktree."""
    found["hasCompletedOnboarding"] = True
    for folder in (place.tree, place.project, place.tree.partition("/.worktrees/")[0]):
        table_of(found, "projects", folder)["hasTrustDialogAccepted"] = True


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
