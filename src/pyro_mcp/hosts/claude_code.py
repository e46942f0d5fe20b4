"""Claude Code: `claude mcp add` and `claude mcp remove`, in the scope of the user."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hosts.entry import Entry
from pyro_mcp.hosts.host import own_command
from pyro_mcp.hosts.settings_file import project_folders

# A change of the settings needs no network.
_QUIET = {"DISABLE_AUTOUPDATER": "1", "DISABLE_TELEMETRY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


class ClaudeCode:
    title = "Claude Code"
    program = "claude"
    install_hint = "install it with: npm install --global @anthropic-ai/claude-code"

    def settings(self) -> Path:
        given = os.environ.get("CLAUDE_CONFIG_DIR")
        return Path(given or Path.home()) / ".claude.json"

    def read(self, name: str) -> Entry | None:
        return _entry(_servers(self._document()).get(name))

    def hidden_by(self, name: str) -> str:
        folders = project_folders()
        project = _dictionary(_dictionary(self._document().get("projects")).get(str(folders[-1])))
        if name in _servers(project):
            return f"an entry of the same name for {folders[-1]} alone: claude mcp remove --scope local {name}"
        shared = [folder / ".mcp.json" for folder in folders]
        found = [path for path in shared if path.is_file() and name in _servers(_json(path))]
        return f"an entry of the same name in {found[0]}" if found else ""

    def write(self, name: str, entry: Entry) -> None:
        before = _servers(self._document()).get(name)
        if not isinstance(before, dict):
            # The name comes first: --env takes every word up to the dashes.
            variables = [word for key, value in entry.environment.items() for word in ("--env", f"{key}={value}")]
            self._run("mcp", "add", "--scope", "user", "--transport", "stdio", name, *variables, "--", *entry.command)
            return
        self.remove(name)
        try:
            self._add_json(name, {**before, **_as_json(entry)})
        except BaseException:
            self._add_json(name, before)
            raise

    def remove(self, name: str) -> None:
        self._run("mcp", "remove", "--scope", "user", name)

    def config(self, name: str, entry: Entry) -> str:
        return json.dumps({"mcpServers": {name: _as_json(entry)}}, indent=2) + "\n"

    def _add_json(self, name: str, server: dict[str, Any]) -> None:
        # By way of stdin: what the user has in the environment of a server may be secret, and argv is for all to see.
        self._run("mcp", "add-json", "--scope", "user", name, "-", stdin=json.dumps(server).encode())

    def _run(self, *words: str, stdin: bytes | None = None) -> None:
        given = {key: os.environ[key] for key in ("CLAUDE_CONFIG_DIR",) if key in os.environ}
        own_command(self, words, {**_QUIET, **given}, stdin)

    def _document(self) -> dict[str, Any]:
        path = self.settings()
        return _json(path) if path.is_file() else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        return _dictionary(json.loads(path.read_text() or "{}"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot read {path}: {error}", hint="correct or remove the file first") from error


def _dictionary(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _servers(holder: dict[str, Any]) -> dict[str, Any]:
    return _dictionary(holder.get("mcpServers"))


def _entry(found: object) -> Entry | None:
    if not isinstance(found, dict):
        return None
    if "command" not in found:
        return Entry((str(found.get("url", "")),))  # a server somewhere else, not ours
    command = (str(found["command"]), *(str(word) for word in found.get("args") or ()))
    return Entry(command, {str(key): str(value) for key, value in _dictionary(found.get("env")).items()})


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "type": "stdio",
        "command": entry.command[0],
        "args": list(entry.command[1:]),
        "env": dict(entry.environment),
    }


HOST = ClaudeCode()
