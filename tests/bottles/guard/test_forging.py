"""What a hostile guest tries at its guard: other bottles, other tools, other names, too much of everything."""

from __future__ import annotations

import json

import pytest

from claude_bottle.bottles import Bottles
from claude_bottle.guard.requests import MOST_PENDING
from tests.bottles.guard.conftest import Guard


def rules() -> list[dict[str, object]]:
    return [one["rule"] for one in Bottles().pending()["requests"]]


NOT_ALLOWABLE: list[tuple[dict[str, object], str]] = [
    ({"host": "*.example"}, "not the full name"),
    ({"host": "10.0.0.1"}, "not the full name"),
    ({"host": "10.0.0.0/8:80"}, "not the full name"),
    ({"host": "a.example:*"}, "not the full name"),
    ({"host": "[::1]:80"}, ""),
    ({"host": "::1"}, ""),
    ({"host": "a.example:0"}, "no valid port"),
    ({"host": "a.example:80:80"}, ""),
    ({"host": "a.example\n:80"}, ""),
    ({"host": "ok.example\0.evil.example"}, ""),
    ({"host": "guard.bottle.internal:8080"}, "a name of the guard"),
    ({"host": "GIT.Bottle.Internal."}, "a name of the guard"),
    ({"host": "pypi.org"}, "allowed already"),
    ({"host": ["a.example"]}, "is missing"),
    ({"host": ""}, "is missing"),
    ({}, "is missing"),
    ({"host": "a.example", "reason": ""}, "the reason is missing"),
    ({"host": "a.example", "reason": "x" * 1001}, "at most 1000"),
    ({"host": "a.example", "wait_seconds": 1e9}, "wait_seconds"),
    ({"host": "a.example", "wait_seconds": True}, "wait_seconds"),
    ({"kind": "root", "host": "a.example"}, "may not ask for that kind"),
    ({"kind": "push"}, "a push makes its own request"),
    ({"kind": "time", "seconds": 10**9}, "seconds must be"),
    ({"kind": "secret", "secret": "KEY", "host": "evil.example"}, "ask for one of: KEY for a.example"),
    ({"kind": "secret", "secret": "OTHER", "host": "b.example"}, "ask for one of: KEY for a.example"),
]


def test_what_nobody_may_allow_is_not_asked(guard: Guard) -> None:
    secrets = {
        "KEY": {"env": "K", "hosts": ["a.example"], "ask": True},
        "OTHER": {"env": "O", "hosts": ["b.example"]},
    }
    bottle = guard(supervise=True, secrets=secrets)

    for given, said in NOT_ALLOWABLE:
        answer = bottle.gateway.tool("request_capability", **{"kind": "host", "reason": "x", **given})
        assert said in answer.get("failed", "asked"), (given, answer)
        assert answer.keys() == {"failed"}, (given, answer)
    assert rules() == []


def test_an_approval_cannot_lift_the_limits_of_a_host(guard: Guard) -> None:
    limited = {"host": "api.example", "methods": ["GET"], "paths": ["/v1/*"]}
    bottle = guard(supervise=True, rules=[limited])

    answer = bottle.gateway.tool("request_capability", kind="host", host="api.example", reason="x")

    assert "would lift all its limits" in answer["failed"] and rules() == []


@pytest.mark.parametrize("host", ["api.openai.com", "openrouter.ai:443", "claude.ai"])
def test_with_a_budget_nobody_is_asked_for_a_model_that_it_does_not_count(guard: Guard, host: str) -> None:
    bottle = guard(supervise=True, budget={"usd": 1})

    answer = bottle.gateway.tool("request_capability", kind="host", host=host, reason="x")

    assert "whose requests the budget would not count" in answer["failed"] and rules() == []


def test_a_bottle_knows_nothing_of_the_requests_of_another(guard: Guard) -> None:
    one, other = guard("web-1", supervise=True), guard("web-2", supervise=True)
    one.gateway.tool("request_capability", kind="host", host="a.example", reason="x")

    assert "there is no request r1" in other.gateway.tool("capability_status", request="r1")["failed"]
    assert other.gateway.tool("capability_status") == {"requests": []}
    Bottles().approve(Bottles().pending()["requests"][0]["reference"])
    assert one.gateway.rules.get(timeout=10).allow == ("pypi.org", "a.example:443")
    assert other.gateway.rules.empty()


def test_no_tool_decides(guard: Guard) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("request_capability", kind="host", host="a.example", reason="x")

    for name in ("approve", "deny", "pending", "request_capability\0", "", "../approve"):
        assert "there is no such tool" in bottle.gateway.tool(name, request="r1", reference="r1")["failed"]
    assert len(rules()) == 1


def test_only_the_tools_are_served(guard: Guard) -> None:
    bottle = guard(supervise=True)

    listed = bottle.gateway.mcp("tools/list", {})["result"]["tools"]

    assert [one["name"] for one in listed] == ["request_capability", "capability_status"]
    for method, path in (("GET", "/"), ("POST", "/approve"), ("GET", "/mcp/../page"), ("DELETE", "/pending")):
        assert bottle.gateway.http(method, path)[0] in (404, 405)
    assert bottle.gateway.http("POST", "/mcp", "{}", Host="page.bottle.internal")[0] == 421
    assert bottle.gateway.http("POST", "/mcp", "{}", Origin="http://evil.example")[0] == 403


def test_what_is_too_large_or_no_json_is_refused_and_the_guard_goes_on(guard: Guard) -> None:
    bottle = guard(supervise=True)

    assert bottle.gateway.http("POST", "/mcp", "x" * 200_000)[0] == 413
    assert bottle.gateway.http("POST", "/mcp", "{" * 1000)[0] == 400
    assert bottle.gateway.http("POST", "/mcp", json.dumps([[]] * 100))[0] == 400
    surrogate = {"name": "request_capability", "arguments": {"kind": "host", "host": "a.example", "reason": "\ud83d"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": surrogate})
    assert bottle.gateway.http("POST", "/mcp", body)[0] == 400
    assert bottle.gateway.tool("capability_status")["requests"] is not None


def test_a_guest_cannot_flood_a_person(guard: Guard) -> None:
    bottle = guard(supervise={"ask_when_refused": True})

    said = [bottle.gateway.refused(f"h{number}.example") for number in range(MOST_PENDING + 5)]
    found = Bottles().pending()

    assert len(found["requests"]) == MOST_PENDING
    assert said[-1] == f"{MOST_PENDING} requests of this bottle wait for a decision already"
    assert [(one["slug"], one["count"]) for one in found["excess"]] == [("web-1", 5)]
