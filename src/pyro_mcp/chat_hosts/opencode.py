"""OpenCode: its settings are JSON with comments, of which we change one member."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pyro_mcp.chat_hosts.server_entry import ServerEntry
from pyro_mcp.chat_hosts.settings_file import keep_copy, project_folders, replace_text, text_of, undo
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host import jsonc

SCHEMA = "https://opencode.ai/config.json"


class OpenCode:
    title = "OpenCode"
    program = "opencode"
    install_hint = "install it with: npm install --global opencode-ai"

    def settings(self) -> Path:
        if given := os.environ.get("OPENCODE_CONFIG"):
            return Path(given)
        given = os.environ.get("XDG_CONFIG_HOME", "")
        folder = (Path(given) if os.path.isabs(given) else Path.home() / ".config") / "opencode"
        # OpenCode reads all of them, and the last has the last word.
        found = [path for path in (folder / "opencode.jsonc", folder / "opencode.json") if path.exists()]
        return found[0] if found else folder / "opencode.json"

    def read(self, name: str) -> ServerEntry | None:
        found = self._found(text_of(self.settings()), name)
        return _entry(found) if found is not None else None

    def hidden_by(self, name: str) -> str:
        own = [folder / file for folder in project_folders() for file in ("opencode.json", "opencode.jsonc")]
        found = [path for path in own if path != self.settings() and self._found(text_of(path), name, path)]
        return f"an entry of the same name in {found[0]}" if found else ""

    def write(self, name: str, entry: ServerEntry) -> None:
        path = self.settings()
        before = text_of(path)
        after = self._with(before, name, entry)
        if self._found(before, name) is None:
            keep_copy(path)
        replace_text(path, after)

    def remove(self, name: str) -> None:
        now, entry = text_of(self.settings()) or "", self.read(name)
        if entry is not None:
            without = jsonc.without_member(now, ("mcp", name))
            undo(self.settings(), lambda before: self._with(before, name, entry), without)

    def allows(self, name: str) -> bool:
        found = self._permission(text_of(self.settings()) or "")
        if not isinstance(found, dict):
            return found in (None, "allow")
        return found.get(f"{name}_*", found.get("*", "allow")) == "allow"

    def allow(self, name: str) -> None:
        text = text_of(self.settings()) or "{}"
        found = self._permission(text)
        if found is not None and not isinstance(found, dict):
            raise InvalidRequest(
                f'"permission" in {self.settings()} is one word for all tools',
                hint=f'write {{"permission": {{"*": {json.dumps(found)}, "{name}_*": "allow"}}}} there',
            )
        replace_text(self.settings(), jsonc.with_member(text, ("permission", f"{name}_*"), "allow"))

    def disallow(self, name: str) -> None:
        text = text_of(self.settings())
        if text is not None and isinstance(self._permission(text), dict):
            replace_text(self.settings(), jsonc.without_member(text, ("permission", f"{name}_*")))

    def _permission(self, text: str) -> object:
        document = self._parsed(text, self.settings()).value
        return document.get("permission") if isinstance(document, dict) else None

    def config(self, name: str, entry: ServerEntry) -> str:
        return json.dumps({"$schema": SCHEMA, "mcp": {name: _as_json(entry)}}, indent=2) + "\n"

    def _with(self, text: str | None, name: str, entry: ServerEntry) -> str:
        if text is None or not text.strip():
            return self.config(name, entry)
        kept = {key: value for key, value in (self._found(text, name) or {}).items() if key != "environment"}
        wanted = {**kept, **_as_json(entry)}
        after = jsonc.with_member(text, ("mcp", name), wanted)
        if self._found(after, name) != wanted:
            raise InvalidRequest(
                f"{self.settings()} cannot be changed without a mistake",
                hint=Hint("{} prints what to write into it", Verb("host print-config", host="opencode")),
            )
        return after

    def _found(self, text: str | None, name: str, path: Path | None = None) -> dict[str, Any] | None:
        document = self._parsed(text or "", path or self.settings()).value
        servers = document.get("mcp") if isinstance(document, dict) else None
        found = servers.get(name) if isinstance(servers, dict) else None
        return found if isinstance(found, dict) else None

    def _parsed(self, text: str, path: Path) -> jsonc.Node:
        try:
            node = jsonc.parse(text)
        except InvalidRequest as error:
            raise InvalidRequest(f"{path} is not valid: {error.message}", hint=error.hint) from error
        if node.members is None:
            raise InvalidRequest(f"{path} does not hold an object", hint="correct the file first")
        return node


def _entry(found: dict[str, Any]) -> ServerEntry:
    words = found.get("command")
    command = tuple(str(word) for word in words) if isinstance(words, list) and words else (str(found.get("url", "")),)
    environment = found.get("environment")
    variables = environment if isinstance(environment, dict) else {}
    return ServerEntry(
        command, {str(key): str(value) for key, value in variables.items()}, found.get("enabled") is not False
    )


def _as_json(entry: ServerEntry) -> dict[str, object]:
    told: dict[str, object] = {"type": "local", "command": list(entry.command), "enabled": True}
    return {**told, "environment": dict(entry.environment)} if entry.environment else told


HOST = OpenCode()
