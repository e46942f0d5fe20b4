"""Where each host keeps its list of servers, and what is in it."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.chat_hosts.conftest import Desk

OWN = str(Path(sys.executable).parent / "pyro")
LISTED = {
    "claude-code": (["claude", "mcp", "list"], r"(?m)^pyro: .*Connected$"),
    "codex": (["codex", "mcp", "list"], r"(?m)^pyro +.* enabled +"),
    "opencode": (["opencode", "mcp", "list"], r"pyro\W+connected"),
}
HOSTS = tuple(LISTED)


def settings(desk: Desk) -> dict[str, Path]:
    return {
        "claude-code": desk.home / "claude/.claude.json",
        "codex": desk.home / "codex/config.toml",
        "opencode": desk.home / ".config/opencode/opencode.json",
    }


def servers(desk: Desk, host: str) -> dict[str, Any]:
    """The list of servers in a host's own settings."""
    text = settings(desk)[host].read_text()
    document: dict[str, Any] = tomllib.loads(text) if host == "codex" else json.loads(text)
    found: dict[str, Any] = document.get(
        {"claude-code": "mcpServers", "codex": "mcp_servers", "opencode": "mcp"}[host], {}
    )
    return found


def command(entry: dict[str, Any]) -> list[str]:
    """The words of an entry's command, however the host keeps them."""
    kept = entry["command"]
    return kept if isinstance(kept, list) else [kept, *entry["args"]]
