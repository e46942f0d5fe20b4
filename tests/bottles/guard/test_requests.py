"""Requests and approvals: what is asked, what a person decides, and what that allows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from claude_bottle.guard import requests as module
from claude_bottle.guard.requests import Asker, Request, Requests
from pyro_mcp.errors import Conflict, InvalidRequest, NoSpace, NotFound, TooManyRequests
from tests.bottles.clock import Clock
from tests.bottles.guard.conftest import Policy

HOST = {"host": "pypi.org:443"}


def asked(requests: Requests, asker: Asker, rule: dict[str, object] | None = None) -> Request:
    return requests.ask(asker, "host", rule or dict(HOST), reason="to install it")


def test_an_approval_allows_the_rule_until_its_time_is_over(
    requests: Requests, asker: Asker, unchanged: Policy, clock: Clock
) -> None:
    pending = asked(requests, asker)

    approved = requests.decide(pending.reference, approve=True, who="person ann", policy=unchanged)

    assert (pending.state, approved.state, approved.decided_by) == ("pending", "approved", "person ann")
    assert approved.rule == HOST and not pending.allows(clock.now)
    assert approved.allows(clock.now + 3599) and not approved.allows(clock.now + 3600)


@pytest.mark.parametrize("approve", [True, False])
@pytest.mark.parametrize("again", [True, False])
def test_a_decided_request_cannot_be_decided_again(
    requests: Requests, asker: Asker, unchanged: Policy, approve: bool, again: bool
) -> None:
    request = asked(requests, asker)
    first = requests.decide(request.reference, approve=approve, who="person ann", policy=unchanged)

    with pytest.raises(Conflict, match=f"{first.state} by person ann already"):
        requests.decide(request.reference, approve=again, who="person bob", policy=unchanged)

    assert requests.get(request.number) == first


def test_a_request_that_nobody_decides_is_denied_when_its_time_is_over(
    requests: Requests, asker: Asker, unchanged: Policy, clock: Clock, recorded: list[tuple[str, str]]
) -> None:
    request = asked(requests, asker)
    clock.now += 900

    with pytest.raises(Conflict, match="r1 is expired already"):
        requests.decide(request.reference, approve=True, who="person ann", policy=unchanged)

    assert requests.get(1).state == "expired" and recorded == [("r1", "pending"), ("r1", "expired")]


def test_an_approval_after_the_policy_changed_is_void(requests: Requests, asker: Asker, clock: Clock) -> None:
    request = asked(requests, asker)

    decided = requests.decide(request.reference, approve=True, who="person ann", policy=lambda _: "p2")

    assert decided.state == "void" and not decided.allows(clock.now)


def test_a_request_can_be_denied_after_the_policy_changed(requests: Requests, asker: Asker) -> None:
    request = asked(requests, asker)

    assert requests.decide(request.reference, approve=False, who="x", policy=lambda _: "p2").state == "denied"


def test_nothing_is_allowed_to_a_bottle_that_has_ended(requests: Requests, asker: Asker) -> None:
    request = asked(requests, asker)

    with pytest.raises(Conflict, match="has ended"):
        requests.decide(request.reference, approve=True, who="person ann", policy=lambda _: None)

    assert requests.get(1).state == "ended"


@pytest.mark.parametrize(
    "reference",
    ["r1", "1", "r1-", "r1-ZZZZZZZZ", "r1-0123456", "r01-12345678x", "", "r1-12345678\n; rm", "r\u0661-12345678"],
)
def test_a_decision_names_the_rule_and_not_only_the_number(
    requests: Requests, asker: Asker, unchanged: Policy, reference: str
) -> None:
    asked(requests, asker)

    with pytest.raises(InvalidRequest, match="does not name a request"):
        requests.decide(reference, approve=True, who="person ann", policy=unchanged)


def test_a_decision_for_another_rule_has_no_effect(requests: Requests, asker: Asker, unchanged: Policy) -> None:
    seen = asked(requests, asker)
    other = asked(requests, asker, {"host": "evil.example:443"})

    with pytest.raises(Conflict, match="for another rule"):
        requests.decide(f"{other.id}-{seen.digest[:8]}", approve=True, who="person ann", policy=unchanged)

    assert {one.state for one in requests.of_guard("g1")} == {"pending"}


def test_the_reference_binds_the_launch_and_the_policy(requests: Requests, asker: Asker) -> None:
    others = [dataclasses.replace(asker, guard="g2"), dataclasses.replace(asker, policy="p2")]

    found = [asked(requests, one) for one in (asker, *others)]

    assert len({one.digest for one in found}) == 3 and [one.number for one in found] == [1, 2, 3]


def test_the_same_rule_is_not_asked_twice(requests: Requests, asker: Asker, unchanged: Policy) -> None:
    first = asked(requests, asker)
    assert asked(requests, asker).number == first.number
    requests.decide(first.reference, approve=True, who="person ann", policy=unchanged)
    assert asked(requests, asker).state == "approved"


def test_an_agent_may_ask_again_after_a_denial_and_a_refused_connection_does_not(
    requests: Requests, asker: Asker, unchanged: Policy
) -> None:
    first = requests.ask(asker, "host", HOST, reason="", asked_by="refusal")
    requests.decide(first.reference, approve=False, who="person ann", policy=unchanged)

    assert requests.ask(asker, "host", HOST, reason="", asked_by="refusal").state == "denied"
    again = requests.ask(asker, "host", HOST, reason="please")
    assert (again.state, again.number) == ("pending", first.number + 1)


def test_a_spent_approval_allows_nothing_more(
    requests: Requests, asker: Asker, unchanged: Policy, clock: Clock
) -> None:
    request = asked(requests, asker)
    requests.decide(request.reference, approve=True, who="person ann", policy=unchanged)
    requests.spend(1, "g1", "p1")

    assert not requests.get(1).allows(clock.now)
    with pytest.raises(Conflict, match="allows nothing any more"):
        requests.spend(1, "g1", "p1")


@pytest.mark.parametrize("guard", ["g2", ""])
def test_a_guard_has_no_part_in_the_requests_of_another(
    requests: Requests, asker: Asker, unchanged: Policy, guard: str
) -> None:
    request = asked(requests, asker)
    requests.decide(request.reference, approve=True, who="person ann", policy=unchanged)

    with pytest.raises(NotFound):
        requests.get(1, "g2")
    with pytest.raises(Conflict):
        requests.spend(1, guard, "p1")
    assert requests.of_guard(guard) == []


def test_a_bottle_has_few_open_requests_and_the_others_are_counted(requests: Requests, asker: Asker) -> None:
    for number in range(module.MOST_PENDING):
        asked(requests, asker, {"host": f"h{number}.example:443"})

    for _ in range(3):
        with pytest.raises(TooManyRequests, match="wait for a decision already"):
            asked(requests, asker, {"host": "one-more.example:443"})

    assert [(one.slug, one.count) for one in requests.excess()] == [("web-1", 3)]
    assert asked(requests, dataclasses.replace(asker, guard="g2", slug="web-2")).state == "pending"


def test_a_bottle_cannot_ask_again_and_again(requests: Requests, asker: Asker, unchanged: Policy, clock: Clock) -> None:
    def ask_and_deny(number: int) -> None:
        request = asked(requests, asker, {"host": f"h{number}.example:443"})
        requests.decide(request.reference, approve=False, who="person ann", policy=unchanged)

    for number in range(module.MOST_IN_WINDOW):
        ask_and_deny(number)
    with pytest.raises(TooManyRequests, match="within 10 minutes"):
        ask_and_deny(1000)
    clock.now += module.WINDOW_SECONDS + 1
    ask_and_deny(1001)


def test_a_launch_can_ask_so_many_times_and_no_more(
    requests: Requests, asker: Asker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OF_LAUNCH", 3)
    for number in range(3):
        asked(requests, asker, {"host": f"h{number}.example:443"})
        clock.now += module.WINDOW_SECONDS * 2

    with pytest.raises(TooManyRequests, match="has asked 3 times"):
        asked(requests, asker, {"host": "one-more.example:443"})


def test_what_is_asked_has_a_limited_size(requests: Requests, asker: Asker) -> None:
    with pytest.raises(InvalidRequest, match="at most 1000"):
        requests.ask(asker, "host", HOST, reason="x" * 1001)
    with pytest.raises(InvalidRequest, match="larger than"):
        requests.ask(asker, "host", {"host": "x" * module.LARGEST_RULE}, reason="")
    assert requests.of_guard("g1") == []


def test_a_rule_has_one_form_whatever_the_order_of_its_keys(requests: Requests, asker: Asker) -> None:
    one = requests.ask(asker, "secret", {"secret": "T", "host": "a.example"}, reason="")
    other = requests.ask(asker, "secret", {"host": "a.example", "secret": "T"}, reason="")

    assert one.number == other.number


def test_what_cannot_be_recorded_does_not_happen(tmp_path: Path, asker: Asker, unchanged: Policy) -> None:
    broken = False

    def record(_: Request) -> None:
        if broken:
            raise NoSpace("the disk is full")

    with Requests(tmp_path / "guard.db", record) as requests:
        request = asked(requests, asker)
        broken = True
        with pytest.raises(NoSpace):
            requests.decide(request.reference, approve=True, who="person ann", policy=unchanged)
        with pytest.raises(NoSpace):
            asked(requests, asker, {"host": "b.example:443"})
        assert [one.state for one in requests.of_guard("g1")] == ["pending"]


def test_the_end_of_a_bottle_ends_its_requests_and_its_approvals(
    requests: Requests, asker: Asker, unchanged: Policy, clock: Clock
) -> None:
    approved = asked(requests, asker)
    requests.decide(approved.reference, approve=True, who="person ann", policy=unchanged)
    asked(requests, asker, {"host": "b.example:443"})
    other = asked(requests, dataclasses.replace(asker, guard="g2"))

    requests.settle(lambda _slug, guard: guard == "g2")

    assert not requests.get(1).allows(clock.now)
    assert [requests.get(number).state for number in (1, 2, other.number)] == ["approved", "ended", "pending"]


def test_old_requests_are_forgotten_and_their_numbers_are_not_used_again(
    requests: Requests, asker: Asker, unchanged: Policy, clock: Clock
) -> None:
    request = asked(requests, asker)
    requests.decide(request.reference, approve=False, who="person ann", policy=unchanged)
    clock.now += 31 * 24 * 3600
    requests.settle(lambda *_: True)

    assert requests.of_guard("g1") == []
    assert asked(requests, asker).number == 2
