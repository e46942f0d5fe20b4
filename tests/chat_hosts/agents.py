"""The real hosts as agents: each connected with our server and ready to do what a scripted model says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from tests.chat_hosts.conftest import Desk
from tests.conftest import SPARES


def claude(desk: Desk, address: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """The server is named by the run itself, and the model has to search for each tool, as by default."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", address)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "nobody-asks-for-it")
    # Claude Code asks the model without the tools of a server that takes more than 5 s; on a loaded machine it may.
    for variable in ("CLAUDE_CODE_MCP_STARTUP_WAIT_MS", "MCP_CONNECT_TIMEOUT_MS"):
        monkeypatch.setenv(variable, "60000")
    config = desk.home / "mcp.json"
    config.write_text(desk.pyro("host", "print-config", "claude-code", *words).stdout)
    servers = ["--mcp-config", str(config), "--strict-mcp-config"]
    return ["claude", "-p", "fix the bug", *servers, "--allowedTools", "mcp__pyro", "--output-format", "json"]


def connected_claude(desk: Desk, address: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """The server is the one that `connect` made known, and all its tools are offered at once."""
    monkeypatch.setenv("ENABLE_TOOL_SEARCH", "false")
    command = claude(desk, address, monkeypatch)
    assert desk.pyro("host", "connect", "claude-code", "--allow", *words).returncode == 0
    return [*command[:3], *command[-2:]]


def codex(desk: Desk, address: str, _monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    provider = {"name": "scripted", "base_url": f"{address}/v1", "wire_api": "responses"}
    settings = desk.home / "codex/config.toml"
    settings.write_text(
        # Codex leaves out the tools of a server that takes more than a second to list them; a loaded machine may.
        "mcp_optional_startup_grace_ms = 60000\n"
        'model = "scripted"\nmodel_provider = "scripted"\n[analytics]\nenabled = false\n[model_providers.scripted]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in provider.items())
    )
    assert desk.pyro("host", "connect", "codex", "--allow", *words).returncode == 0
    # Codex clears the environment of its servers, and a server without this makes spare machines after the test's end.
    document: Any = tomlkit.parse(settings.read_text())
    document["mcp_servers"]["pyro"]["env"][SPARES] = "0"
    settings.write_text(tomlkit.dumps(document))
    return ["codex", "exec", "--skip-git-repo-check", "fix the bug"]


def opencode(desk: Desk, address: str, _monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    options = {"baseURL": f"{address}/v1", "apiKey": "nobody-asks-for-it"}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"scripted": {}}}
    settings = desk.home / ".config/opencode/opencode.json"
    settings.parent.mkdir(parents=True)
    model = "scripted/scripted"
    document = {"model": model, "small_model": model, "provider": {"scripted": provider}, "permission": {"*": "ask"}}
    settings.write_text(json.dumps(document))
    assert desk.pyro("host", "print-config", "opencode", "--write", "--allow", *words).returncode == 0
    return ["opencode", "run", "fix the bug"]


Prepared = Callable[..., list[str]]


def left_running(home: Path) -> list[str]:
    """The servers of ours that still run for this home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = process.joinpath("cmdline").read_bytes().split(b"\0")
            environment = process.joinpath("environ").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if b"serve" in words and str(home).encode() in environment:
            found.append(b" ".join(words).decode(errors="replace"))
    return found
