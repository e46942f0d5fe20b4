"""Events, participants and activity as text for a model, in three levels of detail.

What actors wrote cannot look like an entry of its own: each line of it begins with `> `, and each head line says first
whether the server knows the speaker as a person (human) or as a program (agent).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from moot.server import clock
from moot.server.results import Activity, Event, Participant, SpaceStatus

Detail = Literal["minimal", "standard", "full"]
_ONLINE_SECONDS = 300
_ACTIVITY_CHARACTERS = 300


def events(found: Sequence[Event], detail: Detail = "standard") -> str:
    """Return events as text."""
    return "\n".join(_event(one, detail) for one in found) or "(no events)"


def _event(event: Event, detail: Detail) -> str:
    moment, thread = event.timestamp[:19], f" [thread:{event.thread_id}]" if event.thread_id else ""
    if detail == "minimal":
        return f"[{moment}] {_speaker(event)} ({event.event_id}){thread}"
    lines = [f"**[{moment}] {_speaker(event)}** ({event.event_id}){thread}"]
    if detail == "full":
        metadata = event.metadata or {}
        mentions = ", ".join(f"@{one}" for one in metadata.get("mentions") or []) or "none"
        parent = f" | Parent: {event.parent_event_id}" if event.parent_event_id else ""
        kind = metadata.get("message_type") or "message"
        lines.append(f"Type: {kind} | Mentions: {mentions} | Refs: {len(event.references)}{parent}")
    return "\n".join([*lines, quoted(event.text), ""])


def quoted(text: str) -> str:
    """Return a text of an actor with a mark before each of its lines."""
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def _speaker(event: Event) -> str:
    return f"({event.speaker_type}) {_line(event.speaker_name)}"


def _line(text: str) -> str:
    """Return a text in one line."""
    return " ".join(text.split())


def mentions(found: Sequence[Event], detail: Detail = "standard", *, since: str | None = None) -> str:
    """Return mentions as text; the minimal one only counts them."""
    if not found:
        return "(no mentions)"
    if detail != "minimal":
        return events(found, detail)
    after = f" since {since}" if since else ""
    latest = found[-1]
    return f"{len(found)} mention(s){after}\nLatest: [{latest.timestamp[:19]}] {_speaker(latest)} ({latest.event_id})"


def participants(found: Sequence[Participant], detail: Detail = "standard") -> str:
    """Return participants as text."""
    if not found:
        return "(no participants)"
    if detail == "standard":
        return json.dumps([one.model_dump() for one in found], indent=2, ensure_ascii=False)
    if detail == "full":
        return "\n\n".join(_participant(one) for one in found)
    return "\n".join(
        f"{_line(one.name)}: {_line(one.status or 'no status')}"
        + (f" ({one.status_updated_at[11:16]})" if one.status_updated_at else "")
        for one in found
    )


def _participant(one: Participant) -> str:
    adapter = f" [{one.agent_adapter}]" if one.agent_adapter else ""
    joined = f"Joined: {one.joined_at[:19]}"
    if one.last_seen_at:
        seconds = clock.seconds_since(one.last_seen_at)
        state = "Online" if seconds < _ONLINE_SECONDS else "Offline"
        joined += f" | Last seen: {int(seconds // 60)}m ago | {state}"
    head = f"**{_line(one.name)}** ({one.participant_id}) {one.participant_type}{adapter}"
    return f"{head}\nStatus: {_line(one.status or 'no status')}\n{joined}"


def activity(found: Activity, detail: Detail = "standard") -> str:
    """Return who has said how much."""
    lines = [f"Activity since {found.since}:", ""]
    for one in found.participants:
        if detail == "minimal":
            lines.append(f"  {_line(one.name)}: {one.event_count} event(s), last {one.last_active[11:16]}")
            continue
        lines.append(f"## {_line(one.name)} ({one.event_count} events, last active {one.last_active[:19]})")
        for item in one.summary_events:
            text = str(item["text"])
            kind = f"[{(item['metadata'] or {}).get('message_type') or 'message'}] " if detail == "full" else ""
            if detail == "standard" and len(text) > _ACTIVITY_CHARACTERS:
                text = f"{text[:_ACTIVITY_CHARACTERS]}..."
            first, *rest = quoted(text).splitlines()
            lines.append(f"  [{str(item['timestamp'])[:19]}] {kind}{first.removeprefix('> ')}")
            lines += [f"  {line}" for line in rest]
    return "\n".join(lines)


def space_status(found: SpaceStatus, detail: Detail = "standard") -> str:
    """Return the status of a space."""
    if detail == "minimal":
        return f"{found.status} | {found.event_count} events"
    if detail == "standard":
        return json.dumps(found.model_dump(), indent=2, ensure_ascii=False)
    lines = [f"Space: {found.space_id}", f"Description: {_line(found.description)}", f"Status: {found.status}"]
    lines += [f"Events: {found.event_count}", f"Last event: {found.last_event_at or 'none'}"]
    lines += [f"Started: {found.started_at[:19]}", "Participants:"]
    return "\n".join(
        [*lines, *(f"  {_line(one.name)}: {_line(one.status or 'no status')}" for one in found.participants)]
    )
