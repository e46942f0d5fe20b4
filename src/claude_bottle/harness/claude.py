"""Claude Code, as its release 2.1 behaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from claude_bottle.backend.interface import Inside
from claude_bottle.guard.names import MCP_SERVER
from claude_bottle.harness.agent_state import HOOKS, read_state, report
from claude_bottle.harness.interface import GuestPaths, HarnessKey, HarnessLogin, LoginFile

if TYPE_CHECKING:
    from claude_bottle.manifest import AgentConfig

_API_HOST = "api.anthropic.com"
_KEY = "ANTHROPIC_API_KEY"
# The bottle is the boundary, so the agent does not ask before each command, unless its arguments choose a mode.
_PERMISSION_OPTIONS = ("--permission-mode", "--dangerously-skip-permissions", "--allow-dangerously-skip-permissions")
_APPROVED_BY = 20  # Claude Code remembers an accepted API key by this many of its last characters


class ClaudeCode:
    """Claude Code, with its permission prompts off unless the agent's arguments choose a mode."""

    name = "claude"
    api_hosts: tuple[str, ...] = (_API_HOST,)
    key: HarnessKey | None = HarnessKey(_KEY, (_API_HOST,), "x-api-key")
    # The host is that of TOKEN_URL in the program; the account is shown, and chooses the features of a subscription.
    login: HarnessLogin | None = HarnessLogin(
        (LoginFile(".claude/.credentials.json", ("claudeAiOauth",)), LoginFile(".claude.json", ("oauthAccount",))),
        ("platform.claude.com",),
    )

    def argv(self, agent: AgentConfig, args: Sequence[str], *, prompt_path: str | None) -> list[str]:
        words = [*agent.args, *args]
        argv = ["claude"]
        if not any(word.partition("=")[0] in _PERMISSION_OPTIONS for word in words):
            argv.append("--dangerously-skip-permissions")
        if agent.model is not None:
            argv += ["--model", agent.model]
        if prompt_path is not None:
            argv += ["--append-system-prompt-file", prompt_path]
        return argv + words

    def variables(self, agent: AgentConfig) -> Mapping[str, str]:
        return {
            # As root it refuses to work without permission prompts unless it is told that it is in a sandbox.
            "IS_SANDBOX": "1",
            # Its updater, telemetry and reports would ask for hosts that the bottle does not reach.
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    def files(self, agent: AgentConfig, guest: GuestPaths) -> Mapping[str, str]:
        return {
            f"{guest.home}/.claude.json": _text(self._configuration(guest)),
            f"{guest.home}/.claude/settings.json": _text(self._settings()),
        }

    def links(self, guest: GuestPaths) -> Mapping[str, str]:
        return {}

    def state(self, bottle: Inside) -> str:
        return read_state(bottle)

    def _configuration(self, guest: GuestPaths) -> dict[str, Any]:
        """Return the answers to what its first start would ask a person."""
        found: dict[str, Any] = {
            "hasCompletedOnboarding": True,
            "projects": {guest.tree: {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}},
        }
        if placeholder := guest.environ.get(_KEY):
            found["customApiKeyResponses"] = {"approved": [placeholder[-_APPROVED_BY:]], "rejected": []}
        if guest.mcp_url is not None:
            found["mcpServers"] = {MCP_SERVER: {"type": "http", "url": guest.mcp_url}}
        return found

    def _settings(self) -> dict[str, Any]:
        hooks = {event: [{"hooks": [{"type": "command", "command": report(word)}]}] for event, word in HOOKS.items()}
        return {"skipDangerousModePermissionPrompt": True, "hooks": hooks}


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
