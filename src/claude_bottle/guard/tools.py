"""The MCP tools with which an agent asks for more: their names, arguments and answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from claude_bottle.guard.kinds import KINDS, rule_of, rule_text
from claude_bottle.guard.part import Guarded
from claude_bottle.guard.requests import Request, parse_id
from pyro_mcp.errors import InvalidRequest

REQUEST, STATUS = "request_capability", "capability_status"
LONGEST_WAIT = 50.0
"""Seconds that a tool waits for a person; some agents give up after 60."""
_MOST_LISTED = 20

INSTRUCTIONS = (
    "You run in a bottle: a machine or container that reaches only what its manifest allows. When something that you "
    f"need is refused, ask the person for exactly that with {REQUEST}, and say why. Then wait with {STATUS}, or go on "
    "with other work and look again later. What a person denies stays denied: do not ask for the same thing again, and "
    "do not look for a way around it."
)
_ADVICE = {
    "pending": f"nobody has decided yet; {STATUS} waits for it, or go on with something else",
    "approved": "it is allowed now",
    "denied": "a person has denied it; go on without it",
    "expired": "nobody decided in time, so it is denied; ask again only if it is still needed",
    "void": "the policy of this bottle changed meanwhile, so nothing is allowed; ask again if it is still needed",
    "ended": "the bottle is ending",
}


def tools(kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Return the tools of an agent that may ask for `kinds`, as MCP lists them."""
    wait = {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT, "description": "seconds to wait for the person"}
    offered = "; ".join(f"{kind}: {KINDS[kind].help}" for kind in kinds)
    arguments = {name: schema for kind in kinds for name, schema in KINDS[kind].arguments.items()}
    return [
        {
            "name": REQUEST,
            "description": (
                f"Ask the person who started you to allow one thing. Kinds: {offered}. Returns the id and the state of "
                "the request. To ask again for the same rule returns the same request."
            ),
            "inputSchema": {
                "type": "object",
                "properties": {
                    "kind": {"type": "string", "enum": list(kinds)},
                    **arguments,
                    "reason": {
                        "type": "string",
                        "description": "why you need it; the person reads it",
                    },
                    "wait_seconds": wait,
                },
                "required": ["kind", "reason"],
                "additionalProperties": False,
            },
        },
        {
            "name": STATUS,
            "description": "Show your requests and their decisions, or show one request and wait for its decision.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "request": {"type": "string", "description": "the id of a request, such as r7; without it, all"},
                    "wait_seconds": wait,
                },
                "additionalProperties": False,
            },
        },
    ]


def call_tool(guarded: Guarded, kinds: Sequence[str], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Call a tool; raises `PyroError` for a request that cannot be made."""
    if name == REQUEST:
        return _request(guarded, kinds, given)
    if name == STATUS:
        return _status(guarded, given)
    raise InvalidRequest("there is no such tool", hint=f"there are {REQUEST} and {STATUS}")


def _request(guarded: Guarded, kinds: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    kind, reason = given.get("kind"), given.get("reason")
    if kind not in kinds or not isinstance(kind, str):
        raise InvalidRequest("this bottle may not ask for that kind", hint=f"ask for one of {', '.join(kinds)}")
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidRequest("the reason is missing", hint="say why you need it: a person reads it")
    rule, wait = rule_of(kind, given, guarded.settings), _wait_seconds(given)
    asked = guarded.approvals.ask(kind, rule, reason=reason)
    if wait:
        asked = guarded.approvals.wait(asked.number, wait)
    return _answer(asked)


def _status(guarded: Guarded, given: Mapping[str, Any]) -> dict[str, Any]:
    name = given.get("request")
    if name is None:
        return {"requests": [_answer(one) for one in guarded.approvals.all()[-_MOST_LISTED:]]}
    return _answer(guarded.approvals.wait(parse_id(name), _wait_seconds(given)))


def _wait_seconds(given: Mapping[str, Any]) -> float:
    seconds = given.get("wait_seconds") or 0
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_WAIT:
        raise InvalidRequest(
            f"wait_seconds must be a number from 0 to {LONGEST_WAIT:g}", hint="call again to wait longer"
        )
    return float(seconds)


def _answer(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {
        "request": request.id,
        "state": request.state,
        "kind": request.kind,
        "rule": dict(request.rule),
        "allows": rule_text(request.kind, request.rule),
        "advice": _ADVICE[request.state],
    }
    if request.state == "approved":
        left = (request.granted_until or 0.0) - time.time()
        if request.allows(time.time()):
            found["seconds_left"] = round(left)
        else:
            found["advice"] = "its time is over, or it was used; ask again if it is still needed"
    return found
