"""Appending to the log of a space."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.changes import EventsAdded
from moot.server.database.transaction import Transaction
from moot.server.errors import TooLarge
from moot.server.events import addressing
from moot.server.events.reading import event_of, one
from moot.server.identity import names
from moot.server.identity.callers import Caller
from moot.server.results import Event
from moot.server.spaces import participants
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound


@dataclass(frozen=True)
class Draft:
    """A message that is not in a log yet. `idempotency_key` is the sender's own name for it."""

    text: str
    parent_event_id: str | None = None
    thread_id: str | None = None
    references: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Speaker:
    """Who an entry of the log is by."""

    speaker_id: str
    name: str
    kind: str


SERVER = Speaker(addressing.SYSTEM, names.SERVER, "system")
"""The server itself, as a speaker."""
_MOST_BYTES = 512 * 1024
"""The most JSON of one entry. Clients take frames of up to 1 MiB, and end the connection at a larger one."""
# Built once: each message uses them.
_COUNT = (
    update(tables.spaces)
    .where(tables.spaces.c.space_key == bindparam("space"))
    .values(last_sequence=tables.spaces.c.last_sequence + 1, last_event_at=bindparam("now"))
    .returning(tables.spaces.c.last_sequence)
)
_INSERT = insert(tables.events).inline()


def post(tx: Transaction, caller: Caller, room: Room, draft: Draft) -> Event:
    """Append a message of the caller to an active space; the caller joins it if it has not.

    A second call in the space with the same idempotency key returns the first one's event.
    Raises `InvalidRequest` for a reference to nothing, and `Conflict` for the key of a message with another text.
    """
    if draft.idempotency_key is not None:
        events = tables.events.c
        mine = (events.speaker_id == caller.actor_id, events.space_key == room.key)
        same = select(tables.events).where(*mine, events.idempotency_key == draft.idempotency_key)
        if (before := tx.first(same)) is not None:
            if before.text != draft.text:
                raise Conflict(
                    f"Your message {before.event_id} has this idempotency key already, and another text",
                    hint="send each new message with a new key",
                )
            return event_of(before, room.space_id)
    participants.see(tx, room, caller.actor_id)
    speaker = Speaker(caller.actor_id, caller.display_name, caller.actor_type)
    return append(tx, room, speaker, draft)


def append(tx: Transaction, room: Room, speaker: Speaker, draft: Draft) -> Event:
    """Append an entry with the next sequence number, and queue its deliveries. Raises `TooLarge`."""
    _require_small(draft)
    thread_id = _thread(tx, room, draft)
    sequence = tx.execute(_COUNT, {"space": room.key, "now": tx.now}).scalar_one()
    values = {
        "sequence": sequence,
        "event_id": new_id("evt"),
        "speaker_id": speaker.speaker_id,
        "speaker_name": speaker.name,
        "speaker_type": speaker.kind,
        "text": draft.text,
        "timestamp": tx.now,
        "parent_event_id": draft.parent_event_id,
        "thread_id": thread_id,
        "metadata": dict(draft.metadata) if draft.metadata is not None else None,
    }
    references = list(draft.references)
    row = {**values, "reference_uris": references, "idempotency_key": draft.idempotency_key}
    tx.execute(_INSERT, {"space_key": room.key, **row})
    addressing.queue(
        tx,
        room,
        sequence=sequence,
        speaker_id=speaker.speaker_id,
        text=draft.text,
        thread_id=thread_id,
        metadata=draft.metadata,
    )
    if thread_id is not None and speaker.kind in ("human", "agent"):
        tx.insert_if_new(tables.thread_speakers, {"thread_id": thread_id, "actor_id": speaker.speaker_id})
    tx.announce(EventsAdded(room.key))
    return Event.model_construct(space_id=room.space_id, references=references, **values)


def _require_small(draft: Draft) -> None:
    metadata = dict(draft.metadata) if draft.metadata is not None else None
    size = len(json.dumps([draft.text, list(draft.references), metadata], ensure_ascii=False).encode())
    if size > _MOST_BYTES:
        raise TooLarge(f"The text, references and metadata of a message have at most {_MOST_BYTES} bytes together")


def _thread(tx: Transaction, room: Room, draft: Draft) -> str | None:
    """Return the thread of a message: the one that it names, or that of the message to which it replies."""
    parent = None if draft.parent_event_id is None else _parent(tx, room, draft.parent_event_id)
    if draft.thread_id is None:
        return parent.thread_id if parent is not None else None
    threads = tables.threads.c
    known = select(threads.thread_id).where(threads.space_key == room.key, threads.thread_id == draft.thread_id)
    if tx.first(known) is None:
        raise InvalidRequest(
            f"There is no thread {draft.thread_id[:200]} in this space",
            hint="POST /api/spaces/{space_id}/threads begins one at an event",
        )
    return draft.thread_id


def _parent(tx: Transaction, room: Room, event_id: str) -> Event:
    try:
        return one(tx, room, event_id)
    except NotFound as error:
        raise InvalidRequest(f"There is no event {event_id[:200]} in this space to reply to") from error
