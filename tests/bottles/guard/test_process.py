"""The guard's process, with this test as its gateway: requests, approvals, and how it ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from claude_bottle.audit import user_journal
from claude_bottle.bottles import Bottles
from claude_bottle.guard.changes import requests_version
from claude_bottle.guard.presence import guard_problem
from pyro_mcp.errors import Conflict
from pyro_mcp.network.policy.refused import Refused
from tests.bottles.guard.conftest import Guard


def pending() -> list[str]:
    return [one["reference"] for one in Bottles().pending()["requests"]]


def test_an_agent_asks_a_person_approves_and_the_gateway_gets_the_host(guard: Guard) -> None:
    bottle = guard(supervise=True)
    asked = bottle.gateway.tool("request_capability", kind="host", host="Files.Example:8443", reason="to fetch")

    [request] = Bottles().pending()["requests"]
    Bottles().approve(request["reference"], who="person ann")
    rules = bottle.gateway.rules.get(timeout=10)
    waited = bottle.gateway.tool("capability_status", request=asked["request"], wait_seconds=30)

    assert (asked["request"], asked["state"], asked["rule"]) == ("r1", "pending", {"host": "files.example:8443"})
    assert request["allows"] == "connect to files.example, port 8443 (TCP and UDP)"
    assert (request["slug"], request["agent"], request["reason"]) == ("web-1", "web", "to fetch")
    assert rules.allow == ("pypi.org", "files.example:8443")
    assert waited["state"] == "approved" and 3500 < waited["seconds_left"] <= 3600


def test_what_a_person_denies_stays_denied(guard: Guard) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")

    Bottles().deny(pending()[0])

    assert bottle.gateway.tool("capability_status", request="r1", wait_seconds=30)["state"] == "denied"
    assert bottle.gateway.rules.empty() and pending() == []


def test_an_approval_ends_with_its_time(guard: Guard) -> None:
    bottle = guard(supervise={"grant_seconds": 2})
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    began = time.monotonic()
    Bottles().approve(pending()[0])

    opened, closed = bottle.gateway.rules.get(timeout=10), bottle.gateway.rules.get(timeout=30)

    assert opened.allow == ("pypi.org", "files.example:443") and closed.allow == ("pypi.org",)
    assert time.monotonic() - began >= 2
    assert "its time is over" in bottle.gateway.tool("capability_status", request="r1")["advice"]


def test_a_request_that_nobody_decides_expires(guard: Guard) -> None:
    bottle = guard(supervise={"timeout_seconds": 2})
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")

    assert bottle.gateway.tool("capability_status", request="r1", wait_seconds=40)["state"] == "expired"
    assert bottle.gateway.rules.empty()


def test_a_refused_connection_says_how_to_ask(guard: Guard) -> None:
    bottle = guard(supervise=True)

    said = bottle.gateway.refused("files.example", 8443)

    assert said == "to ask a person for it, use the tool request_capability with the host files.example:8443"
    assert pending() == []


def test_a_refused_connection_becomes_a_request_where_the_manifest_says_so(guard: Guard) -> None:
    bottle = guard(supervise={"ask_when_refused": True})

    said = [bottle.gateway.refused("files.example", None), bottle.gateway.refused("files.example", 443)]
    [request] = Bottles().pending()["requests"]
    Bottles().deny(request["reference"], who="person ann")
    bottle.gateway.tool("capability_status", request="r1", wait_seconds=30)

    assert said == ["a person has been asked (r1): try again later"] * 2
    assert (request["asked_by"], request["rule"]) == ("refusal", {"host": "files.example:443"})
    assert bottle.gateway.refused("files.example", 443) == "a person has denied it (r1)"


@pytest.mark.parametrize(
    "entry",
    [
        ("10.0.0.7 is a private address", "files.example"),
        ("GET / is not allowed, only POST", "files.example"),
        ("budget: the run has used its tokens", "files.example"),
        ("not in the allow list", None),
        ("not in the allow list", "evil\0.example"),
        ("not in the allow list", "guard.bottle.internal"),
    ],
)
def test_a_connection_that_no_approval_would_allow_is_not_asked_for(guard: Guard, entry: tuple[str, str]) -> None:
    bottle = guard(supervise={"ask_when_refused": True})

    bottle.gateway.refused(entry[1], 443, entry[0])

    assert pending() == []


def test_a_secret_that_must_be_asked_for_is_used_only_after_an_approval(guard: Guard) -> None:
    bottle = guard(secrets={"KEY": {"env": "K", "hosts": ["a.example"], "ask": True}})
    use = ("KEY", "a.example", "POST", "/v1")

    first = bottle.gateway.client.secret_use(*use)
    Bottles().approve(pending()[0], who="person ann")
    deadline = time.monotonic() + 10
    while bottle.gateway.client.secret_use(*use) and time.monotonic() < deadline:
        pass

    assert first == (
        "the secret KEY is used only when a person has approved it; a person has been asked (r1): try again later"
    )
    assert bottle.gateway.client.secret_use(*use) == ""
    assert "a person has been asked (r2)" in bottle.gateway.client.secret_use("KEY", "b.example", "GET", "/")
    allowed = [one for one in user_journal().entries(kind="secret") if one.decision == "allowed"]
    assert allowed and {(one.who, one.rule, one.what["request"]) for one in allowed} == {("person ann", "KEY", "r1")}


def test_a_bottle_that_may_not_ask_has_no_tool(guard: Guard) -> None:
    bottle = guard()

    with pytest.raises(Refused, match="nothing serves guard"):
        bottle.gateway.client.connect("guard.bottle.internal")
    assert bottle.gateway.refused("files.example") == ""


def test_each_decision_is_in_the_journal_before_the_gateway_hears_of_it(guard: Guard) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.refused("files.example")
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    Bottles().approve(pending()[0], who="person ann")
    bottle.gateway.rules.get(timeout=10)

    lines = [(one.kind, one.decision, one.who) for one in user_journal().entries(slug="web-1")]

    assert lines == [
        ("guard", "started", "policy"),
        ("egress", "refused", "policy"),
        ("approval", "asked", "agent web"),
        ("approval", "approved", "person ann"),
    ]


def test_an_approval_after_a_change_of_the_manifest_is_void(guard: Guard) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    [reference] = pending()
    Path(bottle.settings.manifest_files[0]).write_text("# changed")

    with pytest.raises(Conflict, match="has changed since r1 was asked"):
        Bottles().approve(reference)

    assert bottle.gateway.tool("capability_status", request="r1", wait_seconds=30)["state"] == "void"
    assert bottle.gateway.rules.empty()


def test_the_guard_ends_with_its_gateway_and_ends_its_requests(guard: Guard) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    [reference] = pending()

    bottle.gateway.close()

    assert bottle.ended() and pending() == []
    with pytest.raises(Conflict, match="r1 is ended already"):
        Bottles().approve(reference)


def test_a_killed_guard_ends_its_gateway_and_its_requests_and_nobody_can_approve_them(guard: Guard) -> None:
    bottle = guard(supervise=True)
    other = guard("web-2", supervise=True)
    for one in (bottle, other):
        one.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    killed, kept = pending()

    os.kill(bottle.pid, signal.SIGKILL)

    assert bottle.gateway.ended.wait(20) and bottle.ended() and "it has no network" in guard_problem("web-1")
    before = requests_version()
    assert pending() == [kept] and requests_version() == before
    with pytest.raises(Conflict, match="web-1 has ended"):
        Bottles().approve(killed)
    assert pending() == [kept] and guard_problem("web-2") == ""
    Bottles().approve(kept)
    assert other.gateway.rules.get(timeout=10).allow == ("pypi.org", "files.example:443")


def test_an_approval_does_not_outlive_its_launch(guard: Guard) -> None:
    first = guard(supervise=True)
    first.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    Bottles().approve(pending()[0])
    first.gateway.rules.get(timeout=10)
    first.gateway.close()
    assert first.ended()

    second = guard(supervise=True)  # the same name

    assert second.gateway.tool("capability_status") == {"requests": []}
    assert "is not the id" in second.gateway.tool("capability_status", request="r1x")["failed"]
    assert "there is no request r1" in second.gateway.tool("capability_status", request="r1")["failed"]
    again = second.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    assert again["state"] == "pending" and second.gateway.rules.empty()


def test_the_start_of_a_guard_ends_what_a_killed_one_has_left(guard: Guard) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    os.kill(bottle.pid, signal.SIGKILL)
    assert bottle.gateway.ended.wait(20) and bottle.ended()
    assert "ended" not in [one.decision for one in user_journal().entries(kind="approval")]

    guard("web-2", supervise=True).gateway.tool("capability_status")

    assert [one.decision for one in user_journal().entries(kind="approval")] == ["asked", "ended"]
