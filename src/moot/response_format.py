"""Events, participants and activity as text for a model, in three levels of detail.

What somebody wrote cannot look like an entry of its own: each line of a text begins with `> `, and all else is put into
one line. A head line says first whether the server knows the speaker as a person (human) or as a program (agent).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from pydantic import BaseModel

Detail = Literal["minimal", "standard", "full"]
_ONLINE_SECONDS = 300
_ACTIVITY_CHARACTERS = 300


class Event(Protocol):
    """One entry of a space's log, as the server makes it or as a client reads it."""

    event_id: str
    speaker_name: str
    speaker_type: str
    text: str
    timestamp: str
    parent_event_id: str | None
    references: list[str]
    thread_id: str | None
    metadata: dict[str, Any] | None


class Participant(Protocol):
    """An actor that has joined a space."""

    participant_id: str
    name: str
    joined_at: str
    agent_adapter: str | None
    status: str | None
    status_updated_at: str | None
    last_seen_at: str | None

    @property
    def participant_type(self) -> str: ...

    def model_dump(self) -> dict[str, Any]: ...


class SpaceStatus(Protocol):
    """A space with its participants."""

    space_id: str
    description: str
    event_count: int
    last_event_at: str | None
    started_at: str

    @property
    def status(self) -> str: ...

    @property
    def participants(self) -> Sequence[Participant]: ...


def format_events(events: Sequence[Event], detail: Detail = "standard") -> str:
    """Return events as text."""
    return "\n".join(_event(one, detail) for one in events) or "(no events)"


def format_mentions(events: Sequence[Event], detail: Detail = "standard", since_event_id: str | None = None) -> str:
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
        _name_and_status(one) + (f" ({one.status_updated_at[11:16]})" if one.status_updated_at else "")
        for one in participants
    )


def format_activity(activity: Mapping[str, Any], detail: Detail = "standard") -> str:
    """Return who has said how much, from the server's answer."""
    lines = [f"Activity since {activity.get('since', '?')}:", ""]
    for one in activity.get("participants") or []:
        name, count = one_line(str(one.get("name", "?"))), one.get("event_count", 0)
        last = str(one.get("last_active") or "?")
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
        f"Description: {one_line(status.description)}",
        f"Status: {status.status}",
        f"Events: {status.event_count}",
        f"Last event: {status.last_event_at or 'none'}",
        f"Started: {status.started_at[:19]}",
    ]
    lines += ["Participants:"] if status.participants else []
    return "\n".join([*lines, *(f"  {_name_and_status(one)}" for one in status.participants)])


def as_json(found: object) -> str:
    """Return an answer of the server as JSON with an indent."""
    shown = found.model_dump() if isinstance(found, BaseModel) else found
    return json.dumps(shown, indent=2, ensure_ascii=False)


def one_line(text: str) -> str:
    """Return a text in one line."""
    return " ".join(text.split())


def _quoted(text: str) -> str:
    """Return a text that somebody wrote, with a mark before each of its lines."""
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def _speaker(event: Event) -> str:
    return f"({event.speaker_type or 'unknown'}) {event.speaker_name}"


def _event(event: Event, detail: Detail) -> str:
    moment, thread = event.timestamp[:19], f" [thread:{event.thread_id}]" if event.thread_id else ""
    if detail == "minimal":
        return one_line(f"[{moment}] {_speaker(event)} ({event.event_id}){thread}")
    lines = [f"**[{moment}] {_speaker(event)}** (event:{event.event_id}){thread}"]
    if detail == "full":
        metadata = event.metadata or {}
        mentions = ", ".join(f"@{one}" for one in metadata.get("mentions") or []) or "none"
        parent = f" | Parent: {event.parent_event_id}" if event.parent_event_id else ""
        kind = metadata.get("message_type") or "message"
        lines.append(f"Type: {kind} | Mentions: {mentions} | Refs: {len(event.references)}{parent}")
    return "\n".join([*(one_line(line) for line in lines), _quoted(event.text), ""])


def _name_and_status(one: Participant) -> str:
    return one_line(f"{one.name}: {one.status or 'no status'}")


def _participant(one: Participant, now: datetime) -> str:
    adapter = f" [{one.agent_adapter}]" if one.agent_adapter else ""
    seen = f" | {_last_seen(one.last_seen_at, now)}" if one.last_seen_at else ""
    lines = [
        f"**{one.name}** ({one.participant_id}) {one.participant_type}{adapter}",
        f"Status: {one.status or 'no status'}",
        f"Joined: {one.joined_at[:19] or '?'}{seen}",
    ]
    return "\n".join(one_line(line) for line in lines)


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
    first, *rest = _quoted(text).splitlines()
    head = one_line(f"[{str(item.get('timestamp', ''))[:19]}] {kind}{first.removeprefix('> ')}")
    return "\n".join(f"  {line}" for line in [head, *rest])
