"""The core of the verbs `pending`, `approve` and `deny`: reports of all requests, and decisions about them."""

from __future__ import annotations

import time

from claude_bottle.errors import BottleFailed
from claude_bottle.guard.database import guard_database
from claude_bottle.guard.journaling import recording
from claude_bottle.guard.kinds import rule_text
from claude_bottle.guard.presence import is_alive
from claude_bottle.guard.requests import Request, Requests
from claude_bottle.guard.settings import guard_dir, read_settings
from claude_bottle.results import PendingReport, RequestInfo
from pyro_mcp.errors import Conflict, PyroError
from pyro_mcp.visible import visible_line

_LONGEST_REASON = 2000


def pending_report() -> PendingReport:
    """Return the requests that wait for a person, oldest first, and how many exceeded the limits of bottles.

    It writes nothing, because the screen and the page read often. Requests of a killed guard are left out; the start
    of another guard ends them.
    """
    now = time.time()
    with _requests() as requests:
        waiting = [
            one for one in requests.in_state("pending") if one.expires_at > now and is_alive(one.slug, one.guard)
        ]
        return {
            "requests": [info_of(one) for one in waiting],
            "excess": [{"slug": one.slug, "count": one.count, "last_at": one.last_at} for one in requests.excess()],
        }


def decide(reference: str, *, approve: bool, who: str) -> RequestInfo:
    """Approve or deny the request that a person saw as `reference`; raises `Conflict` when that has no effect."""
    with _requests() as requests:
        decided = requests.decide(reference, approve=approve, who=who, policy=_policy_now)
    if decided.state == "void":
        raise Conflict(
            f"the manifest of {decided.slug} has changed since {decided.id} was asked, so its approval is void",
            hint="the agent can ask again, under the present manifest",
        )
    return info_of(decided)


def info_of(request: Request) -> RequestInfo:
    """Return a request for persons; its texts hold only visible characters."""
    return {
        "reference": request.reference,
        "digest": request.digest,
        "slug": request.slug,
        "agent": visible_line(request.agent),
        "kind": request.kind,
        "rule": dict(request.rule),
        "allows": rule_text(request.kind, request.rule),
        "reason": visible_line(request.reason, _LONGEST_REASON),
        "asked_by": request.asked_by,
        "asked_at": request.asked_at,
        "expires_at": request.expires_at,
        "grant_seconds": request.grant_seconds,
        "state": request.state,
        "decided_by": request.decided_by,
        "granted_until": request.granted_until,
    }


def _requests() -> Requests:
    return Requests(guard_database(), recording())


def _policy_now(request: Request) -> str | None:
    """Return the digest of the policy that the bottle of a request has now; None when its guard does not run."""
    if not is_alive(request.slug, request.guard):
        return None
    try:
        return read_settings(guard_dir(request.slug)).policy()
    except PyroError as error:
        raise BottleFailed(f"the policy of {request.slug} cannot be read: {error.message}", hint=error.hint) from error
