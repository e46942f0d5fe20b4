"""The activity of each speaker in a space since a time, and an extract of the messages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import func, select

from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.events import reading
from moot.server.identity.callers import Caller
from moot.server.results import ActiveParticipant, Activity, Event, Summary
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room

_events = tables.events
_MOST_READ = 2000
_MOST_LINES = 20
_LINE_CHARACTERS = 300
_WEIGHTS = {"decision": 3.0, "question": 2.0, "feature": 1.5, "bug": 1.5, "retro": 1.5}


def since(tx: Transaction, caller: Caller, space_id: str, start: str, most_events: int) -> Activity:
    """Return the activity in a space since a time: of each speaker the count and the last events."""
    return of_room(tx, spaces.find(tx, caller, space_id), start, most_events)


def of_room(tx: Transaction, room: Room, start: str, most_events: int) -> Activity:
    """Return the activity in a space since a time."""
    recent = (_events.c.space_key == room.key, _events.c.timestamp >= start)
    statement = (
        select(_events.c.speaker_id, func.count(), func.max(_events.c.timestamp), func.max(_events.c.speaker_name))
        .where(*recent)
        .group_by(_events.c.speaker_id)
        .order_by(func.max(_events.c.timestamp).desc())
    )
    found = []
    for speaker in tx.rows(statement):
        speaker_id, number, last, name = tuple(speaker)
        by_one = select(_events).where(*recent, _events.c.speaker_id == speaker_id)
        rows = tx.rows(by_one.order_by(_events.c.timestamp.desc(), _events.c.sequence.desc()).limit(most_events))
        items = [{"timestamp": row.timestamp, "text": row.text, "metadata": row.metadata} for row in reversed(rows)]
        found.append(
            ActiveParticipant(
                name=name, participant_id=speaker_id, event_count=number, last_active=last, summary_events=items
            )
        )
    return Activity(since=start, participants=found)


def summary(tx: Transaction, caller: Caller, space_id: str, start: str | None, end: str | None) -> Summary:
    """Return an extract of the events of a time: the messages with the words that matter most in it."""
    room = spaces.find(tx, caller, space_id)
    events = reading.between(tx, room, start, end, _MOST_READ)
    return Summary(
        space_id=space_id,
        start=start,
        end=end,
        event_count=len(events),
        summary_text=_extract(events),
    )


def _extract(events: Sequence[Event]) -> str:
    """Return the messages that score highest, in their order: by how often their words occur, and by their type."""
    if not events:
        return "(no events)"
    words = [set(re.findall(r"\w{4,}", event.text.casefold())) for event in events]
    often = Counter(word for mine in words for word in mine)

    def score(number: int) -> float:
        mine = words[number]
        kind = (events[number].metadata or {}).get("message_type")
        common = sum(often[word] for word in mine) / (len(mine) + 5)
        return common * _WEIGHTS.get(str(kind), 1.0)

    best = sorted(sorted(range(len(events)), key=score, reverse=True)[:_MOST_LINES])
    lines = []
    for number in best:
        event = events[number]
        text = " ".join(event.text.split())
        text = text if len(text) <= _LINE_CHARACTERS else f"{text[:_LINE_CHARACTERS]}..."
        lines.append(f"- [{event.timestamp[:19]}] ({event.speaker_type}) {event.speaker_name}: {text}")
    head = f"{len(events)} events from {events[0].timestamp[:19]} to {events[-1].timestamp[:19]}; the main ones:"
    return "\n".join([head, *lines])
