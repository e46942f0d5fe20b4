"""Events, participants and activity as text for a model, in three levels of detail."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from moot.models import ContextEvent, Participant, SpaceStatus

Detail = Literal["minimal", "standard", "full"]
_ONLINE_SECONDS = 300
_ACTIVITY_CHARACTERS = 300


def format_events(events: Sequence[ContextEvent], detail: Detail = "standard") -> str:
    """Return events as text."""
    return "\n".join(_event(one, detail) for one in events) or "(no events)"


def format_mentions(
    events: Sequence[ContextEvent], detail: Detail = "standard", since_event_id: str | None = None
) -> str:
    """Return mentions as text; the minimal one only counts them, and names the last."""
    if not events:
        return "(no mentions)"
    if detail != "minimal":
        return format_events(events, detail)
    after = f" since {since_event_id}" if since_event_id else ""
    return f"{len(events)} mention(s){after}\nLatest: {_event(events[-1], 'minimal')}"


def format_participants(
    participants: Sequence[Participant], detail: Detail = "standard", *, now: datetime | None = None
) -> str:
    """Return participants as text; `now` is the time for which "last seen" is said."""
    if not participants:
        return "(no participants)"
    if detail == "standard":
        return json.dumps([one.model_dump() for one in participants], indent=2, ensure_ascii=False)
    if detail == "full":
        return "\n\n".join(_participant(one, now or datetime.now(UTC)) for one in participants)
    return "\n".join(
        f"{one.name}: {one.status or 'no status'}"
        + (f" ({one.status_updated_at[11:16]})" if one.status_updated_at else "")
        for one in participants
    )


def format_activity(activity: Mapping[str, Any], detail: Detail = "standard") -> str:
    """Return who has said how much, from the server's answer."""
    lines = [f"Activity since {activity.get('since', '?')}:", ""]
    for one in activity.get("participants") or []:
        name, count, last = one.get("name", "?"), one.get("event_count", 0), str(one.get("last_active") or "?")
        if detail == "minimal":
            lines.append(f"  {name}: {count} event(s), last {last[11:16]}")
            continue
        lines.append(f"## {name} ({count} events, last active {last[:19]})")
        lines += [_activity_item(item, detail) for item in one.get("summary_events") or []]
    return "\n".join(lines)


def format_space_status(status: SpaceStatus, detail: Detail = "standard") -> str:
    """Return the status of a space."""
    if detail == "minimal":
        return f"{status.status} | {status.event_count} events"
    if detail == "standard":
        return as_json(status)
    lines = [
        f"Space: {status.space_id}",
        f"Description: {status.description}",
        f"Status: {status.status}",
        f"Events: {status.event_count}",
        f"Last event: {status.last_event_at or 'none'}",
        f"Started: {status.started_at[:19]}",
    ]
    lines += ["Participants:"] if status.participants else []
    return "\n".join([*lines, *(f"  {one.name}: {one.status or 'no status'}" for one in status.participants)])


def as_json(found: object) -> str:
    """Return an answer of the server as JSON with an indent."""
    shown = found.model_dump() if isinstance(found, BaseModel) else found
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _event(event: ContextEvent, detail: Detail) -> str:
    moment, thread = event.timestamp[:19], f" [thread:{event.thread_id}]" if event.thread_id else ""
    if detail == "minimal":
        return f"[{moment}] {event.speaker_name} ({event.event_id}){thread}"
    lines = [f"**[{moment}] {event.speaker_name}** (event:{event.event_id}){thread}"]
    if detail == "full":
        metadata = event.metadata or {}
        mentions = ", ".join(f"@{one}" for one in metadata.get("mentions") or []) or "none"
        parent = f" | Parent: {event.parent_event_id}" if event.parent_event_id else ""
        kind = metadata.get("message_type") or "message"
        lines.append(f"Type: {kind} | Mentions: {mentions} | Refs: {len(event.references)}{parent}")
    return "\n".join([*lines, event.text, ""])


def _participant(one: Participant, now: datetime) -> str:
    adapter = f" [{one.agent_adapter}]" if one.agent_adapter else ""
    seen = f" | {_last_seen(one.last_seen_at, now)}" if one.last_seen_at else ""
    head = f"**{one.name}** ({one.participant_id}) {one.participant_type}{adapter}"
    return f"{head}\nStatus: {one.status or 'no status'}\nJoined: {one.joined_at[:19] or '?'}{seen}"


def _last_seen(moment: str, now: datetime) -> str:
    try:
        seconds = (now - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):  # no time, or one without an offset
        return f"Last seen: {moment[:19]}"
    return f"Last seen: {int(seconds // 60)}m ago | {'Online' if seconds < _ONLINE_SECONDS else 'Offline'}"


def _activity_item(item: Mapping[str, Any], detail: Detail) -> str:
    text = str(item.get("text", ""))
    kind = f"[{(item.get('metadata') or {}).get('message_type') or 'message'}] " if detail == "full" else ""
    if detail == "standard" and len(text) > _ACTIVITY_CHARACTERS:
        text = f"{text[:_ACTIVITY_CHARACTERS]}..."
    return f"  [{str(item.get('timestamp', ''))[:19]}] {kind}{text}"
