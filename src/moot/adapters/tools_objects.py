"""The tools about decisions, questions and scheduled calls."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from moot.adapters import words
from moot.adapters.desk import Desk
from moot.adapters.tool import adds, changes, reads, removes
from moot.client.space_client import part
from moot.response_format import as_json
from pyro_mcp.errors import InvalidRequest

_DURATION = re.compile(r"(\d{1,9})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
Duration = Annotated[str | None, Field(description="a number with s, m or h, such as '10m'")]


class Proposed(BaseModel):
    decision_id: str


class Resolved(BaseModel):
    decision_id: str
    status: str


class Asked(BaseModel):
    question_id: str


class Deferred(BaseModel):
    question_id: str
    status: str


class Scheduled(BaseModel):
    timer_id: str


@adds
def propose_decision(
    desk: Desk,
    text: Annotated[str, Field(min_length=1, description="what should be decided, as a statement")],
    question_id: Annotated[str | None, Field(description="the question that it would answer")] = None,
) -> Proposed:
    """Propose a decision to all participants."""
    body = {"text": text, **({"question_id": question_id} if question_id else {})}
    return Proposed(decision_id=desk.in_space("POST", "decisions", body)["decision_id"])


@reads
def list_decisions(desk: Desk, status: Literal["proposed", "resolved", "rejected"] | None = None) -> str:
    """List the decisions of the space."""
    return as_json(desk.in_space("GET", "decisions", status=status))


@changes
def resolve_decision(
    desk: Desk, decision_id: str, resolution: str, status: Literal["resolved", "rejected"] = "resolved"
) -> Resolved:
    """Resolve or reject a decision, once; its question is answered with it."""
    body = {"resolution": resolution, "status": status}
    desk.in_space("PUT", f"decisions/{part(decision_id)}/resolve", body)
    return Resolved(decision_id=decision_id, status=status)


@adds
def ask_question(
    desk: Desk,
    text: Annotated[str, Field(min_length=1)],
    assigned_to: Annotated[str | None, Field(description="participant id of who should answer")] = None,
) -> Asked:
    """Record a question; who should answer it gets a message."""
    body = {"text": text, "assigned_to": assigned_to}
    return Asked(question_id=desk.in_space("POST", "questions", body)["question_id"])


@reads
def list_questions(desk: Desk, status: Literal["open", "answered", "deferred"] | None = None) -> str:
    """List the questions of the space."""
    return as_json(desk.in_space("GET", "questions", status=status))


@changes
def defer_question(desk: Desk, question_id: str, reason: str | None = None) -> Deferred:
    """Defer a question; the reason, if given, is posted."""
    desk.in_space("PATCH", f"questions/{part(question_id)}", {"status": "deferred"})
    if reason:
        desk.post(f"Deferred question: {reason}", message_type="question_deferred")
    return Deferred(question_id=question_id, status="deferred")


@adds
def schedule_call(
    desk: Desk,
    tool: Annotated[
        Literal["get_recent_context", "get_mentions", "get_activity", "list_participants", "get_space_status"],
        Field(description="the tool that the server calls"),
    ],
    args: Annotated[dict[str, object] | None, Field(description="its arguments")] = None,
    interval: Duration = None,
    delay: Duration = None,
) -> Scheduled:
    """Let the server call a tool for you, once after `delay` (30s or more) or every `interval` (60s or more).

    You get the result as a message, if it is not empty.
    """
    if (interval is None) == (delay is None):
        raise InvalidRequest("give either interval or delay", hint="for example delay='30s', or interval='10m'")
    body = {
        "tool_name": tool,
        "tool_args": args or {},
        "timer_type": "interval" if interval is not None else "delay",
        "duration_secs": _seconds(interval if interval is not None else delay or ""),
    }
    return Scheduled(timer_id=desk.in_space("POST", "timers", body)["timer_id"])


@removes
def cancel_call(desk: Desk, timer_id: str) -> words.Updated:
    """Cancel a scheduled call of yours."""
    desk.in_space("DELETE", f"timers/{part(timer_id)}")
    return words.Updated(status="cancelled")


@reads
def list_calls(desk: Desk) -> str:
    """List your scheduled calls."""
    lines = [
        f"- {one['timer_id']}: {one['tool_name']} ({one['timer_type']}, every {one['duration_secs']}s, "
        f"fired {one['fire_count']}x)"
        for one in desk.in_space("GET", "timers")
    ]
    return "\n".join(lines) or "No active timers."


def _seconds(duration: str) -> int:
    found = _DURATION.fullmatch(duration.strip())
    if found is None:
        raise InvalidRequest(f"{duration[:50]!r} is not a duration", hint="a number with s, m or h, such as '10m'")
    return int(found[1]) * _SECONDS[found[2]]


TOOLS = (
    *(propose_decision, list_decisions, resolve_decision, ask_question, list_questions, defer_question),
    *(schedule_call, cancel_call, list_calls),
)
