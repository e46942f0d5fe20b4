"""The real Claude Code, Codex and OpenCode at the end of their budget: they show the refusal, and stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.budget.budget import Budget
from claude_bottle.budget.ledger import Ledger
from claude_bottle.budget.limits import limits_of
from claude_bottle.budget.prices import Prices
from tests.bottles.budget.metered_agents import AGENTS, Agent, metered, missing
from tests.bottles.budget.test_ledger import RUN
from tests.chat_hosts.model_api import Call, Model, Story

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
LIMIT = 3


def endless(agent: Agent) -> Story:
    """Want one command after another, far beyond any budget of a test."""
    for number in range(50):
        yield Call(agent.tool, {agent.argument: f"echo step {number}", "description": "Go on"})
    return "This is the end."


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_an_agent_shows_the_refusal_and_stops(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    with Ledger(tmp_path / "ledger/budget.db") as ledger:
        limits = limits_of({"requests": LIMIT, "usd": 10, "day": {"tokens": 10**6}})
        model, budget = Model(endless(agent)), Budget(ledger, RUN, limits, Prices(), advice=" Stop here.")
        with metered(model, agent.api, budget) as address:
            done = agent.run(tmp_path, address)
        spent = ledger.spent(RUN)

    shown = done.stdout + done.stderr
    assert f"this run has used {LIMIT} requests of {LIMIT} requests, so it is not sent. Stop here." in shown, shown
    assert done.returncode != 0 and model.failure is None
    assert len([one for one in model.requests if one.startswith("POST")]) == LIMIT, model.requests
    # The scripted model says that each answer has used one token of input and one of output.
    assert (spent["run"].used.requests, spent["run"].used.tokens) == (LIMIT, 2 * LIMIT)
    assert spent["day"].used == spent["run"].used
    assert spent["run"].reserved.tokens == 0
    assert spent["run"].used.usd == LIMIT * (18_000_000 if agent.api == "anthropic" else 11_250_000)
