"""OpenCode, as its release 1.18 behaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from claude_bottle.backend.interface import Inside
from claude_bottle.guard.names import MCP_SERVER
from claude_bottle.harness.agent_state import STATE_NAME, read_state
from claude_bottle.harness.interface import GuestPaths, HarnessKey, HarnessLogin, LoginFile

if TYPE_CHECKING:
    from claude_bottle.manifest import AgentConfig

_KEYS = {
    "anthropic": HarnessKey("ANTHROPIC_API_KEY", ("api.anthropic.com",), "x-api-key"),
    "openai": HarnessKey("OPENAI_API_KEY", ("api.openai.com",)),
}
_DEFAULT_PROVIDER = "anthropic"
_LOGIN_HOSTS = {"openai": ("auth.openai.com", "chatgpt.com")}  # it has no login of its own for other providers
_PLUGIN = """\
// Reports what the agent does, for `claude-bottle status`.
import { renameSync, writeFileSync } from "node:fs"

const words = {
  "session.status": (event) => (event.properties.status?.type === "idle" ? "idle" : "running"),
  "session.idle": () => "idle",
  "permission.asked": () => "waiting_for_permission",
  "permission.updated": () => "waiting_for_permission",
  "permission.replied": () => "running",
}

export const ClaudeBottle = async () => ({
  event: async ({ event }) => {
    const word = words[event.type]?.(event)
    if (word) {
      writeFileSync(STATE + ".new", word)
      renameSync(STATE + ".new", STATE)
    }
  },
})
"""


class OpenCode:
    """OpenCode. A model is named PROVIDER/MODEL, and the provider decides whose API it uses."""

    name = "opencode"

    def __init__(self, model: str | None = None) -> None:
        provider = (model or "").partition("/")[0] or _DEFAULT_PROVIDER
        self.key = _KEYS.get(provider)
        login = LoginFile(".local/share/opencode/auth.json")
        self.login: HarnessLogin | None = HarnessLogin((login,), _LOGIN_HOSTS.get(provider, ()))
        self.api_hosts: tuple[str, ...] = self.key.hosts if self.key is not None else ()

    def argv(self, agent: AgentConfig, args: Sequence[str], *, prompt_path: str | None) -> list[str]:
        return ["opencode", *agent.args, *args]

    def variables(self, agent: AgentConfig) -> Mapping[str, str]:
        return {
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
        }

    def files(self, agent: AgentConfig, guest: GuestPaths) -> Mapping[str, str]:
        """Return its settings, and a plugin that reports its state. The bottle is the boundary, so it never asks."""
        settings: dict[str, Any] = {"permission": {"*": "allow"}, "share": "disabled", "autoupdate": False}
        if guest.prompt_path is not None:
            settings["instructions"] = [guest.prompt_path]
        if agent.model is not None:
            settings["model"] = settings["small_model"] = agent.model
        if guest.mcp_url is not None:
            settings["mcp"] = {MCP_SERVER: {"type": "remote", "url": guest.mcp_url, "oauth": False, "timeout": 120_000}}
        state = f"const STATE = {json.dumps(f'{guest.home}/{STATE_NAME}')}\n"
        folder = f"{guest.home}/.config/opencode"
        # It installs this package for plugins unless its lock file has it; without a registry that takes a minute.
        installed = {"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}}
        return {
            f"{folder}/opencode.json": json.dumps(settings, indent=2) + "\n",
            f"{folder}/package-lock.json": json.dumps(installed) + "\n",
            f"{folder}/node_modules/README": "Empty: the plugin needs no package.\n",
            f"{folder}/plugin/claude-bottle.js": state + _PLUGIN,
        }

    def links(self, guest: GuestPaths) -> Mapping[str, str]:
        return {}

    def state(self, bottle: Inside) -> str:
        return read_state(bottle)
