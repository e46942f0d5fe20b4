"""Claude Code: its settings are one JSON file, of which we change one member, in the scope of the user.

`claude mcp add` refuses a name that is taken, and older versions of `claude mcp add-json` do not read standard input.
With these commands a change would begin with a removal, and lose the entry when the second step fails.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyro_mcp.chat_hosts.server_entry import ServerEntry
from pyro_mcp.chat_hosts.settings_file import project_folders, replace_text, text_of
from pyro_mcp.errors import Busy, HostToolMissing, InvalidRequest
from pyro_mcp.host import jsonc
from pyro_mcp.host.programs import find_program

# Claude Code locks the file with npm's proper-lockfile: a folder beside it, abandoned when nobody touched it for 10 s.
_ABANDONED_SECONDS = 10.0
_LOCK_SECONDS = 5.0
_LOCK_POLL_SECONDS = 0.05


class ClaudeCode:
    title = "Claude Code"
    program = "claude"
    install_hint = "install it with: npm install --global @anthropic-ai/claude-code"

    def settings(self) -> Path:
        given = os.environ.get("CLAUDE_CONFIG_DIR")
        return Path(given or Path.home()) / ".claude.json"

    def read(self, name: str) -> ServerEntry | None:
        return _entry(_servers(self._document()).get(name))

    def hidden_by(self, name: str) -> str:
        folders = project_folders()
        project = _dictionary(_dictionary(self._document().get("projects")).get(str(folders[-1])))
        if name in _servers(project):
            return f"an entry of the same name for {folders[-1]} alone: claude mcp remove --scope local {name}"
        shared = [folder / ".mcp.json" for folder in folders]
        found = [path for path in shared if path.is_file() and name in _servers(_json(path))]
        return f"an entry of the same name in {found[0]}" if found else ""

    def write(self, name: str, entry: ServerEntry) -> None:
        if find_program(self.program) is None:
            raise HostToolMissing(f"the program {self.program} is not installed", hint=self.install_hint)
        with _locked(self.settings()):
            text = text_of(self.settings()) or "{}\n"
            before = _dictionary(_servers(_parsed(self.settings(), text)).get(name))
            replace_text(self.settings(), jsonc.with_member(text, ("mcpServers", name), {**before, **_as_json(entry)}))

    def remove(self, name: str) -> None:
        with _locked(self.settings()):
            text = text_of(self.settings())
            if text is not None:
                _parsed(self.settings(), text)
                replace_text(self.settings(), jsonc.without_member(text, ("mcpServers", name)))

    def allows(self, name: str) -> bool:
        return _rule(name) in _rules(_json(self._permissions()))

    def allow(self, name: str) -> None:
        path = self._permissions()
        text = text_of(path) or "{}\n"
        rules = [*_rules(_parsed(path, text)), _rule(name)]
        replace_text(path, jsonc.with_member(text, ("permissions", "allow"), rules))

    def disallow(self, name: str) -> None:
        path = self._permissions()
        rules = _rules(_json(path))
        if _rule(name) in rules:
            rules = [one for one in rules if one != _rule(name)]
            replace_text(path, jsonc.with_member(text_of(path) or "{}", ("permissions", "allow"), rules))

    def _permissions(self) -> Path:
        """Return the path of the user's permissions."""
        given = os.environ.get("CLAUDE_CONFIG_DIR")
        return (Path(given) if given else Path.home() / ".claude") / "settings.json"

    def config(self, name: str, entry: ServerEntry) -> str:
        return json.dumps({"mcpServers": {name: _as_json(entry)}}, indent=2) + "\n"

    def _document(self) -> dict[str, Any]:
        path = self.settings()
        return _json(path) if path.is_file() else {}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep a running Claude Code from writing the file at the same time; raises `Busy`."""
    lock = path.resolve().with_name(f"{path.resolve().name}.lock")
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            if time.monotonic() > end:
                raise Busy(
                    f"Claude Code keeps {path} locked", hint=f"try again; if it does not run, remove {lock}"
                ) from None
        with suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > _ABANDONED_SECONDS:
                lock.rmdir()
        time.sleep(_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            lock.rmdir()


def _json(path: Path) -> dict[str, Any]:
    return _parsed(path, text_of(path) or "{}")


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return _dictionary(json.loads(text or "{}"))
    except ValueError as error:
        raise InvalidRequest(f"{path} is not valid JSON: {error}", hint="correct or remove the file first") from error


def _rule(name: str) -> str:
    return f"mcp__{name}"


def _rules(document: dict[str, Any]) -> list[Any]:
    found = _dictionary(document.get("permissions")).get("allow")
    return list(found) if isinstance(found, list) else []


def _dictionary(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _servers(holder: dict[str, Any]) -> dict[str, Any]:
    return _dictionary(holder.get("mcpServers"))


def _entry(found: object) -> ServerEntry | None:
    if not isinstance(found, dict):
        return None
    if "command" not in found:
        return ServerEntry((str(found.get("url", "")),))  # a server somewhere else, not ours
    command = (str(found["command"]), *(str(word) for word in found.get("args") or ()))
    return ServerEntry(command, {str(key): str(value) for key, value in _dictionary(found.get("env")).items()})


def _as_json(entry: ServerEntry) -> dict[str, object]:
    return {
        "type": "stdio",
        "command": entry.command[0],
        "args": list(entry.command[1:]),
        "env": dict(entry.environment),
    }


HOST = ClaudeCode()
