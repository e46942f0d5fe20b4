"""What a person decides takes effect for the guard first, and for the agent last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.guard.approvals import Approvals
from claude_bottle.guard.requests import Asker, Request, Requests
from pyro_mcp.errors import Conflict


@pytest.fixture
def decided(tmp_path: Path, asker: Asker) -> Iterator[tuple[Approvals, Request]]:
    """The requests of a bottle, and one of them, which a person has approved."""
    with Requests(tmp_path / "guard.db", lambda _: None) as requests:
        approvals = Approvals(requests, asker, lambda: asker.policy)
        asked = approvals.ask("host", {"host": "pypi.org:443"}, reason="to fetch it")
        requests.decide(asked.reference, approve=True, who="person ann", policy=lambda one: one.policy)
        yield approvals, asked


def test_an_approval_counts_for_the_guard_before_it_is_applied_and_for_the_agent_after(
    decided: tuple[Approvals, Request],
) -> None:
    approvals, asked = decided
    seen: list[tuple[bool, str]] = []

    def apply(granted: list[Request]) -> None:
        seen.append((granted == approvals.granted("host"), approvals.get(asked.number).state))

    assert (approvals.granted(), approvals.get(asked.number).state) == ([], "pending")
    approvals.refresh(apply)

    assert seen == [(True, "pending")]
    assert approvals.get(asked.number).state == "approved"


def test_an_approval_that_could_not_be_applied_is_tried_again_and_not_announced(
    decided: tuple[Approvals, Request],
) -> None:
    approvals, asked = decided

    def fail(_: list[Request]) -> None:
        raise Conflict("the gateway did not take its rules")

    with pytest.raises(Conflict):
        approvals.refresh(fail)
    assert approvals.wait(asked.number, 0.01).state == "pending"

    approvals.refresh(lambda _: None)
    assert approvals.wait(asked.number, 0.01).state == "approved"
