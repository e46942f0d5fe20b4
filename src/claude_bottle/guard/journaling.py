"""The lines of the audit journal about requests."""

from __future__ import annotations

from collections.abc import Callable

from claude_bottle.audit import Journal, user_journal
from claude_bottle.guard.requests import Request, canonical


def recording(journal: Journal | None = None) -> Callable[[Request], None]:
    """Return the function that records a request in its new state; it raises `PyroError` if that is impossible."""
    into = journal or user_journal()

    def record(request: Request) -> None:
        into.add(
            "approval",
            "asked" if request.state == "pending" else request.state,
            slug=request.slug,
            bottle=request.bottle,
            agent=request.agent,
            who=_who(request),
            rule=canonical(request.rule),
            what={
                "request": request.id,
                "kind": request.kind,
                "digest": request.digest,
                "policy": request.policy,
                "reason": request.reason,
                "granted_until": request.granted_until,
            },
        )

    return record


def _who(request: Request) -> str:
    if request.state == "pending":
        return f"agent {request.agent}" if request.asked_by == "agent" else "policy"
    return request.decided_by or "the end of the bottle"
