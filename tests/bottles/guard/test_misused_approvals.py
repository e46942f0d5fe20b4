"""Approvals that are raced, replayed, forged or expired, or whose policy has changed, allow nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claude_bottle.audit import user_journal
from claude_bottle.bottles import Bottles
from claude_bottle.guard.approvals import Approvals
from claude_bottle.guard.bottle_journal import BottleJournal
from claude_bottle.guard.gateway_guard import GatewayGuard
from claude_bottle.guard.part import Guarded
from claude_bottle.guard.requests import Asker, Request, Requests
from claude_bottle.guard.settings import GuardSettings
from pyro_mcp.errors import Conflict, PyroError
from pyro_mcp.network.policy.log import Attempt, log_entry
from pyro_mcp.network.policy.refused import Refused
from tests.bottles.clock import Clock
from tests.bottles.guard.conftest import Guard
from tests.waiting import until

HOST = {"host": "files.example:443"}
ENTRY = log_entry("allowed", Attempt("tcp", "files.example", None, 443))


@pytest.fixture
def policy(asker: Asker) -> list[str]:
    """The policy of the bottle as it is now."""
    return [asker.policy]


@pytest.fixture
def approvals(requests: Requests, asker: Asker, policy: list[str], monkeypatch: pytest.MonkeyPatch) -> Approvals:
    monkeypatch.setattr(time, "time", requests._now)
    return Approvals(requests, asker, lambda: policy[0])


@pytest.fixture
def supervisor(approvals: Approvals, home: Path) -> Iterator[GatewayGuard]:
    settings = GuardSettings(
        guard="g1", slug="web-1", bottle="small", agent="web", backend="pyro", rules={}, config={}, manifest_files=()
    )  # fmt: skip
    journal = BottleJournal(user_journal(), settings)
    yield GatewayGuard(Guarded(settings, home, home, journal, approvals), [])
    journal.close()


Approve = Callable[..., Request]


@pytest.fixture
def approve(requests: Requests, approvals: Approvals) -> Approve:
    """Ask for a rule, and approve it as a person does."""

    def ask(kind: str = "host", rule: dict[str, object] | None = None) -> Request:
        asked = approvals.ask(kind, rule or HOST, reason="")
        done = requests.decide(asked.reference, approve=True, who="person ann", policy=lambda one: one.policy)
        approvals.refresh(lambda _: None)
        return done

    return ask


# A change of the policy


def test_an_approval_is_void_at_once_when_the_policy_changes(
    approve: Approve, approvals: Approvals, policy: list[str], recorded: list[tuple[str, str]]
) -> None:
    given = approve()
    assert [one.number for one in approvals.granted("host")] == [given.number]

    policy[0] = "p2"

    assert approvals.granted() == []
    with pytest.raises(Conflict, match="allows nothing any more"):
        approvals.spent(given.number)
    approvals.refresh(lambda _: None)
    found = approvals.get(given.number)
    assert (found.state, found.decided_by) == ("void", "policy") and recorded[-1] == (given.id, "void")


def test_a_void_approval_does_not_come_back_with_the_old_policy(
    approve: Approve, approvals: Approvals, policy: list[str]
) -> None:
    given = approve()
    policy[0] = "p2"
    approvals.refresh(lambda _: None)
    policy[0] = "p1"
    approvals.refresh(lambda _: None)

    assert approvals.granted() == [] and approvals.get(given.number).state == "void"
    assert approve().number != given.number and len(approvals.granted()) == 1


@pytest.mark.parametrize("over", ["policy", "time"])
def test_a_connection_needs_its_approval_also_while_the_gateway_has_the_old_rules(
    approve: Approve, supervisor: GatewayGuard, policy: list[str], clock: Clock, over: str
) -> None:
    approve()
    supervisor.decided(ENTRY)
    if over == "policy":
        policy[0] = "p2"
    else:
        clock.now += 3601

    with pytest.raises(Conflict, match=r"the approval of files\.example:443 is over"):
        supervisor.decided(ENTRY)
    supervisor.decided(log_entry("allowed", Attempt("tcp", "pypi.org", None, 443)))

    lines = [(one.decision, one.who, one.rule) for one in user_journal().entries(kind="egress")]
    assert lines == [
        ("allowed", "person ann", "files.example:443"),
        ("refused", "policy", "files.example:443"),
        ("allowed", "policy", "pypi.org:443"),
    ]


def test_the_gateway_loses_a_host_when_the_manifest_changes_and_the_agent_may_ask_again(guard: Guard) -> None:
    bottle = guard(supervise=True)
    manifest = Path(bottle.settings.manifest_files[0])
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    Bottles().approve(Bottles().pending()["requests"][0]["reference"])
    assert "files.example:443" in bottle.gateway.rules.get(timeout=10).allow
    bottle.gateway.allowed("files.example")

    manifest.write_text("# changed")

    with pytest.raises(Refused, match="void because the policy has changed"):
        bottle.gateway.allowed("files.example")
    assert bottle.gateway.rules.get(timeout=10).allow == ("pypi.org",)
    assert bottle.gateway.tool("capability_status", request="r1", wait_seconds=30)["state"] == "void"
    assert ("void", "policy") in [(one.decision, one.who) for one in user_journal().entries(kind="approval")]

    again = bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    assert again["request"] == "r2"
    Bottles().approve(Bottles().pending()["requests"][0]["reference"])
    assert "files.example:443" in bottle.gateway.rules.get(timeout=10).allow
    bottle.gateway.allowed("files.example")


def test_a_manifest_that_became_a_pipe_or_is_gone_stops_no_decision(guard: Guard) -> None:
    bottle = guard(supervise=True)
    manifest = Path(bottle.settings.manifest_files[0])
    for number in (1, 2):
        manifest.unlink(missing_ok=True)
        if number == 2:
            os.mkfifo(manifest)
        bottle.gateway.tool("request_capability", kind="host", host=f"h{number}.example", reason="x")
        [request] = Bottles().pending()["requests"]
        Bottles().approve(request["reference"])
        assert f"h{number}.example:443" in bottle.gateway.rules.get(timeout=10).allow


# Raced


def test_of_many_uses_at_once_one_gets_the_approval(approve: Approve, approvals: Approvals) -> None:
    for round_ in range(10):
        given = approve("push", {"remote": f"origin{round_}"})

        def use(number: int = given.number) -> bool:
            try:
                approvals.spent(number)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(one.result() for one in [pool.submit(use) for _ in range(8)]) == 1


def test_a_decision_that_meets_a_change_of_the_policy_allows_nothing_afterwards(
    approvals: Approvals, policy: list[str], tmp_path: Path, clock: Clock
) -> None:
    for round_ in range(10):
        policy[0] = f"before {round_}"
        asked = approvals.ask("host", {"host": f"h{round_}.example:443"}, reason="")
        begin = threading.Barrier(2)

        def decide(reference: str = asked.reference, begin: threading.Barrier = begin) -> None:
            with Requests(tmp_path / "guard.db", lambda _: None, clock) as own:
                begin.wait(30)
                own.decide(reference, approve=True, who="person ann", policy=lambda _: policy[0])

        with ThreadPoolExecutor(1) as pool:
            decided = pool.submit(decide)
            begin.wait(30)
            policy[0] = f"after {round_}"
            decided.result(30)
        approvals.refresh(lambda _: None)
        assert approvals.granted() == [] and approvals.get(asked.number).state == "void"


def test_an_approval_that_meets_the_end_of_the_bottle_allows_nothing_afterwards(
    requests: Requests, approvals: Approvals, tmp_path: Path, clock: Clock
) -> None:
    for round_ in range(10):
        asked = approvals.ask("host", {"host": f"h{round_}.example:443"}, reason="")
        begin = threading.Barrier(2)

        def decide(reference: str = asked.reference, begin: threading.Barrier = begin) -> None:
            with Requests(tmp_path / "guard.db", lambda _: None, clock) as own:
                begin.wait(30)
                try:
                    own.decide(reference, approve=True, who="person ann", policy=lambda _: "p1")
                except Conflict:
                    return

        with ThreadPoolExecutor(1) as pool:
            decided = pool.submit(decide)
            begin.wait(30)
            requests.end("g1")
            decided.result(30)
        requests.end("g1")  # what a guard that has ended leaves: the next command ends it
        assert not any(one.allows(clock.now) for one in requests.of_guard("g1"))


# Replayed


def test_a_reference_of_an_earlier_launch_approves_nothing_in_the_next(guard: Guard) -> None:
    first = guard(supervise=True)
    first.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    [old] = Bottles().pending()["requests"]
    first.gateway.close()
    assert first.ended()
    second = guard(supervise=True)
    second.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    [new] = Bottles().pending()["requests"]

    with pytest.raises(Conflict, match="ended already"):
        Bottles().approve(old["reference"])
    assert new["digest"] != old["digest"]
    with pytest.raises(Conflict, match="for another rule"):
        Bottles().approve(f"{new['reference'].partition('-')[0]}-{old['digest'][:8]}")
    assert second.gateway.rules.empty()


# Forged


@pytest.mark.parametrize("change", ["digest", "number", "kind"])
def test_a_reference_that_was_not_given_out_decides_nothing(
    requests: Requests, approvals: Approvals, change: str
) -> None:
    asked = approvals.ask("host", HOST, reason="")
    forged = {
        "digest": f"{asked.id}-{'0' * 8}",
        "number": f"r{asked.number + 1}-{asked.digest[:8]}",
        "kind": approvals.ask("secret", HOST, reason="").reference.replace("r2", asked.id),
    }[change]

    with pytest.raises(PyroError):
        requests.decide(forged, approve=True, who="person ann", policy=lambda one: one.policy)
    assert {one.state for one in requests.of_guard("g1")} == {"pending"}


def test_an_approval_is_for_its_rule_and_its_kind_only(
    approve: Approve, supervisor: GatewayGuard, approvals: Approvals
) -> None:
    approve("host", {"host": "files.example:443"})

    assert supervisor._approval("host", {"host": "files.example:444"}) is None
    assert supervisor._approval("host", {"host": "sub.files.example:443"}) is None
    assert supervisor._approval("secret", HOST) is None
    assert [one.rule for one in approvals.granted()] == [HOST]


# Expired


def test_an_approval_allows_until_its_last_second(approve: Approve, approvals: Approvals, clock: Clock) -> None:
    given = approve()
    clock.now += 3599
    assert len(approvals.granted()) == 1
    clock.now += 1
    assert approvals.granted() == []
    with pytest.raises(Conflict, match="allows nothing any more"):
        approvals.spent(given.number)


def test_an_expired_request_cannot_be_approved(guard: Guard) -> None:
    bottle = guard(supervise={"timeout_seconds": 1})
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    [request] = Bottles().pending()["requests"]
    until("the end of its time", lambda: Bottles().pending()["requests"], lambda found: not found)

    with pytest.raises(Conflict, match="r1 is expired already"):
        Bottles().approve(request["reference"])
    assert bottle.gateway.rules.empty()
