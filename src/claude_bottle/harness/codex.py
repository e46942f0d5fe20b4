"""Codex, as its release 0.169 behaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from claude_bottle.backend.interface import Inside
from claude_bottle.guard.names import MCP_SERVER
from claude_bottle.harness.agent_state import HOOKS, read_state, report
from claude_bottle.harness.interface import GuestPaths, HarnessKey, HarnessLogin, LoginFile

if TYPE_CHECKING:
    from claude_bottle.manifest import AgentConfig

_API_HOST = "api.openai.com"
_KEY = "OPENAI_API_KEY"
_PERMISSION_OPTIONS = (
    "--dangerously-bypass-approvals-and-sandbox",
    "--yolo",
    "--full-auto",
    "-a",
    "--ask-for-approval",
    "-s",
    "--sandbox",
)


class Codex:
    """Codex, without its own sandbox and approvals unless the agent's arguments choose them."""

    name = "codex"
    api_hosts: tuple[str, ...] = (_API_HOST,)
    key: HarnessKey | None = HarnessKey(_KEY, (_API_HOST,))
    # With a login it uses the model at chatgpt.com, and renews its tokens at auth.openai.com.
    login: HarnessLogin | None = HarnessLogin((LoginFile(".codex/auth.json"),), ("auth.openai.com", "chatgpt.com"))

    def argv(self, agent: AgentConfig, args: Sequence[str], *, prompt_path: str | None) -> list[str]:
        words = [*agent.args, *args]
        argv = ["codex"]
        if not any(word.partition("=")[0] in _PERMISSION_OPTIONS for word in words):
            argv.append("--dangerously-bypass-approvals-and-sandbox")
        if agent.model is not None:
            argv += ["--model", agent.model]
        return argv + words

    def variables(self, agent: AgentConfig) -> Mapping[str, str]:
        return {}

    def files(self, agent: AgentConfig, guest: GuestPaths) -> Mapping[str, str]:
        """Return its settings: its hooks report its state, and without a login it takes the key from the variable."""
        # Its built-in provider would want a login in a file, and use WebSockets.
        provider = {"name": "OpenAI", "base_url": f"https://{_API_HOST}/v1", "env_key": _KEY, "wire_api": "responses"}
        lines = [
            'cli_auth_credentials_store = "file"' if agent.login else 'model_provider = "bottle"',
            "check_for_update_on_startup = false",
            *(['web_search = "disabled"'] if guest.metered else []),
            "[analytics]",
            "enabled = false",
            f"[projects.{json.dumps(guest.tree)}]",
            'trust_level = "trusted"',
        ]
        if not agent.login:
            lines += ["[model_providers.bottle]", *(f"{key} = {json.dumps(value)}" for key, value in provider.items())]
        if guest.mcp_url is not None:
            lines += [f"[mcp_servers.{MCP_SERVER}]", f"url = {json.dumps(guest.mcp_url)}"]
            # Its first turn begins only when it has the tools of a server that is required.
            lines += ["required = true", "startup_timeout_sec = 60", "tool_timeout_sec = 120"]
        hooks = [
            f'[[hooks.{event}]]\n[[hooks.{event}.hooks]]\ntype = "command"\ncommand = {json.dumps(report(word))}\n'
            for event, word in HOOKS.items()
        ]
        return {
            f"{guest.home}/.codex/config.toml": "\n".join(lines) + "\n",
            # Hooks of the user run only after a person has accepted them; those of the system run at once.
            "/etc/codex/config.toml": "".join(hooks),
        }

    def links(self, guest: GuestPaths) -> Mapping[str, str]:
        """Return links from where it looks for the user's instructions and skills."""
        found = {f"{guest.home}/.agents/skills": f"{guest.home}/.claude/skills"}
        if guest.prompt_path is not None:
            found[f"{guest.home}/.codex/AGENTS.md"] = guest.prompt_path
        return found

    def state(self, bottle: Inside) -> str:
        return read_state(bottle)
