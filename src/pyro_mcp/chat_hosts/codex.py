"""Codex: its list is read with `codex mcp list --json`, and its settings are TOML, of which we change one table.

`codex mcp add` writes all of `mcp_servers` anew: comments are lost, and so are the time limits and approvals that the
user has set for a server of that name.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from pyro_mcp.chat_hosts.chat_host import own_command
from pyro_mcp.chat_hosts.server_entry import ServerEntry
from pyro_mcp.chat_hosts.settings_file import keep_copy, replace_text, text_of, undo
from pyro_mcp.errors import HostCommandFailed, InvalidRequest
from pyro_mcp.hints import Hint, Verb

_APPROVAL, _WITHOUT_ASKING = "default_tools_approval_mode", "approve"


class Codex:
    title = "Codex"
    program = "codex"
    install_hint = "install it with: npm install --global @openai/codex"

    def settings(self) -> Path:
        given = os.environ.get("CODEX_HOME")
        return Path(given or Path.home() / ".codex") / "config.toml"

    def read(self, name: str) -> ServerEntry | None:
        try:
            listed = json.loads(self._run("mcp", "list", "--json"))
            return next((_entry(one) for one in listed if one["name"] == name), None)
        except (ValueError, TypeError, KeyError) as error:
            raise HostCommandFailed(
                f"'codex mcp list --json' answers in a form that is not known here: {error}",
                hint="update codex, or pyro",
            ) from error

    def hidden_by(self, name: str) -> str:
        return ""

    def write(self, name: str, entry: ServerEntry) -> None:
        before = text_of(self.settings())
        after = with_server(before, name, entry)
        if name not in tomllib.loads(before or "").get("mcp_servers", {}):
            keep_copy(self.settings())
        replace_text(self.settings(), after)

    def remove(self, name: str) -> None:
        entry = self.read(name)
        if entry is not None:
            without = without_server(text_of(self.settings()) or "", name)
            undo(self.settings(), lambda before: with_server(before, name, entry), without)

    def allows(self, name: str) -> bool:
        servers = tomllib.loads(text_of(self.settings()) or "").get("mcp_servers", {})
        return bool(servers.get(name, {}).get(_APPROVAL) == _WITHOUT_ASKING)

    def allow(self, name: str) -> None:
        import tomlkit  # noqa: PLC0415 - slow to import, rarely needed

        text = text_of(self.settings()) or ""
        document: Any = tomlkit.parse(text)
        document["mcp_servers"][name][_APPROVAL] = _WITHOUT_ASKING
        replace_text(self.settings(), _sound(text, tomlkit.dumps(document), name))

    def disallow(self, name: str) -> None:
        import tomlkit  # noqa: PLC0415

        text = text_of(self.settings()) or ""
        document: Any = tomlkit.parse(text)
        if document.get("mcp_servers", {}).get(name, {}).pop(_APPROVAL, None) is not None:
            replace_text(self.settings(), _sound(text, tomlkit.dumps(document), name))

    def config(self, name: str, entry: ServerEntry) -> str:
        # Strings and lists of JSON are those of TOML too.
        lines = [f"[mcp_servers.{json.dumps(name)}]", f"command = {json.dumps(entry.command[0])}"]
        lines.append(f"args = {json.dumps(list(entry.command[1:]))}")
        if entry.environment:
            variables = ", ".join(f"{key} = {json.dumps(value)}" for key, value in entry.environment.items())
            lines.append(f"env = {{ {variables} }}")
        return "\n".join(lines) + "\n"

    def _run(self, *words: str) -> bytes:
        return own_command(self, words, {key: os.environ[key] for key in ("CODEX_HOME",) if key in os.environ})


def with_server(text: str | None, name: str, entry: ServerEntry) -> str:
    """Return the settings `text` with the server `name` in them; raise `InvalidRequest` when others would change."""
    import tomlkit  # noqa: PLC0415 - slow to import, rarely needed
    from tomlkit.items import InlineTable  # noqa: PLC0415

    document: Any = tomlkit.parse(text or "")
    servers = document.setdefault("mcp_servers", tomlkit.table(is_super_table=True))
    if name not in servers:
        servers[name] = tomlkit.inline_table() if isinstance(servers, InlineTable) else tomlkit.table()
    server = servers[name]
    server["command"], server["args"] = entry.command[0], list(entry.command[1:])
    server.pop("enabled", None)  # it is unless said otherwise
    server.pop("env", None)
    if entry.environment:
        variables = tomlkit.inline_table()
        variables.update(entry.environment)
        server["env"] = variables
    return _sound(text or "", tomlkit.dumps(document), name)


def without_server(text: str, name: str) -> str:
    """Return the settings `text` without the server `name`; raise `InvalidRequest` when others would change."""
    import tomlkit  # noqa: PLC0415

    document: Any = tomlkit.parse(text)
    document.get("mcp_servers", {}).pop(name, None)
    return _sound(text, tomlkit.dumps(document), name)


def _sound(before: str, after: str, name: str) -> str:
    """Return `after` if only this server's table differs; a table put before other keys would swallow them."""
    try:
        sound = _others(before, name) == _others(after, name)
    except tomllib.TOMLDecodeError:
        sound = False
    if not sound:
        raise InvalidRequest(
            "Codex's settings cannot be changed without moving what else is in them",
            hint=Hint("{} prints what to append", Verb("host print-config", host="codex")),
        )
    return after


def _others(text: str, name: str) -> dict[str, Any]:
    document = tomllib.loads(text)
    servers = {key: value for key, value in document.get("mcp_servers", {}).items() if key != name}
    return {**document, "mcp_servers": servers}


def _entry(found: dict[str, Any]) -> ServerEntry:
    how = found["transport"]
    if how["type"] != "stdio":
        return ServerEntry((str(how.get("url", "")),), enabled=bool(found["enabled"]))
    return ServerEntry((how["command"], *how["args"]), dict(how["env"] or {}), bool(found["enabled"]))


HOST = Codex()
