"""The budget in the guard's process: the gateway asks it, persons raise it, and it outlives the guard."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from claude_bottle.audit import user_journal
from claude_bottle.bottles import Bottles
from claude_bottle.budget.report import use_text, uses_of
from pyro_mcp.network import ModelRefusal, Reservation
from tests.bottles.budget.test_ledger import ASKED, used
from tests.bottles.guard.conftest import Guard
from tests.waiting import until


def uses(slug: str = "web-1") -> list[str]:
    return [use_text(one) for one in uses_of([slug]).get(slug, [])]


def test_the_guard_counts_for_its_gateway_and_tells_persons(guard: Guard) -> None:
    gateway = guard(budget={"usd": 0.25, "day": {"requests": 9}}).gateway
    verdict = gateway.client.model_request(ASKED)
    assert isinstance(verdict, Reservation)
    assert uses() == ["$0.00 and $0.11 reserved of $0.25", "0 requests and 1 requests reserved of 9 requests (day)"]

    gateway.client.model_usage(verdict.id, used(10_000, 5_000))

    until("the usage is settled", uses, lambda found: found == ["$0.11 of $0.25", "1 requests of 9 requests (day)"])
    assert isinstance(gateway.client.model_request(replace(ASKED, most_output=9_000)), ModelRefusal)
    found = [(one.decision, one.what.get("model")) for one in user_journal().entries(kind="budget")]
    assert found == [(decision, ASKED.model) for decision in ("allowed", "used", "refused")]


def test_a_bottle_without_a_budget_has_nothing_that_counts(guard: Guard) -> None:
    verdict = guard(supervise=True).gateway.client.model_request(ASKED)
    assert isinstance(verdict, ModelRefusal) and "counts requests" in verdict.reason
    assert uses() == []


def test_a_killed_guard_leaves_what_was_reserved_for_the_day_and_the_bottle(guard: Guard) -> None:
    budget = {"usd": 1, "day": {"usd": 0.20}, "bottle": {"usd": 0.30}}
    first = guard(budget=budget)
    assert isinstance(first.gateway.client.model_request(ASKED), Reservation)
    os.kill(first.pid, signal.SIGKILL)
    assert first.ended()

    second = guard("web-2", budget=budget, project="/srv/other/bottles.toml")  # whose file sets no limit
    verdict = second.gateway.client.model_request(ASKED)

    assert isinstance(verdict, ModelRefusal) and not verdict.passing
    assert "this day (UTC) has used $0.11 of $0.20, $0.11 of that for requests without a known end" in verdict.reason
    assert uses("web-2") == [
        "$0.00 of $1.00", "$0.00 and $0.11 reserved of $0.20 (day)", "$0.00 and $0.11 reserved of $0.30 (bottle)"
    ]  # fmt: skip


def test_a_person_adds_to_a_limit_when_the_agent_asks(guard: Guard) -> None:
    gateway = guard(budget={"requests": 1}, supervise=True).gateway
    first = gateway.client.model_request(ASKED)
    assert isinstance(first, Reservation)
    gateway.client.model_usage(first.id, used(1, 1))
    refused = gateway.client.model_request(ASKED)
    assert isinstance(refused, ModelRefusal) and "request_capability" in refused.reason

    rule = {"span": "run", "unit": "requests", "add": 1}
    asked = gateway.tool("request_capability", kind="budget", budget=rule, reason="one more answer", wait_seconds=0)
    (pending,) = Bottles().pending()["requests"]
    assert pending["allows"] == "use 1 requests more of the model within this run", asked
    Bottles().approve(pending["reference"])

    verdict = until(
        "the approval is in effect",
        lambda: gateway.client.model_request(ASKED),
        lambda found: isinstance(found, Reservation),
    )
    assert isinstance(verdict, Reservation)
    assert isinstance(gateway.client.model_request(ASKED), ModelRefusal)


def test_what_cannot_be_raised_cannot_be_asked_for(guard: Guard) -> None:
    gateway = guard(budget={"requests": 1}, supervise=True).gateway
    for rule in (
        {"span": "run", "unit": "usd", "add": 1},
        {"span": "week", "unit": "requests", "add": 1},
        {"unit": "requests", "add": -1},
        {"unit": "requests", "add": 1.5},
        {"unit": "requests", "add": 10**9},
        {"unit": "requests", "add": True},
    ):
        assert "failed" in gateway.tool("request_capability", kind="budget", budget=rule, reason="x", wait_seconds=0)
    assert not Bottles().pending()["requests"]


def test_nobody_is_asked_for_a_sum_that_rounds_to_nothing(guard: Guard) -> None:
    gateway = guard(budget={"usd": 1}, supervise=True).gateway
    for add in (1e-9, 0.00009, float("nan")):
        asked = gateway.tool("request_capability", kind="budget", budget={"unit": "usd", "add": add}, reason="x")
        assert "add must be a number from 0.0001" in asked["failed"]
    gateway.tool("request_capability", kind="budget", budget={"unit": "usd", "add": 0.0001}, reason="x")
    [request] = Bottles().pending()["requests"]
    assert request["allows"] == "use $0.00010 more of the model within this run"
