"""Threads: conversations that begin at one event."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, or_, select

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.events import reading
from moot.server.identity.callers import Caller
from moot.server.objects import pages
from moot.server.results import Thread, ThreadWithMessages
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import NotFound

_threads = tables.threads
_MOST_MESSAGES = 1000


def begin(tx: Transaction, caller: Caller, room: Room, event_id: str, subject: str | None) -> Thread:
    """Return the thread that begins at an event; make it first when there is none.

    The event's speaker has spoken in it, and so learns of replies. Raises `NotFound`.
    """
    event = reading.one(tx, room, event_id)
    thread_id = new_id("thr")
    row = {"thread_id": thread_id, "space_key": room.key, "parent_event_id": event_id, "subject": subject}
    new = tx.insert_if_new(_threads, {**row, "created_by": caller.actor_id, "created_at": tx.now})
    if new and event.speaker_type in ("human", "agent"):
        tx.insert_if_new(tables.thread_speakers, {"thread_id": thread_id, "actor_id": event.speaker_id})
    return _find(tx, room, event_id)


def get(tx: Transaction, caller: Caller, space_id: str, thread_or_event_id: str) -> ThreadWithMessages:
    """Return a thread by its id, by the event where it begins, or by an event in it. Raises `NotFound`."""
    room = spaces.find(tx, caller, space_id)
    thread = _find(tx, room, thread_or_event_id)
    messages = reading.of_thread(tx, room, thread.thread_id, thread.parent_event_id, _MOST_MESSAGES)
    return ThreadWithMessages(thread=thread, messages=messages)


def all_of(
    tx: Transaction, caller: Caller, space_id: str, *, before: str | None = None, limit: int = pages.MOST
) -> list[Thread]:
    """Return the newest threads of a space, in the order of their making."""
    room = spaces.find(tx, caller, space_id)
    return [_thread(row, room) for row in pages.newest(tx, room, _threads, before=before, limit=limit)]


def _find(tx: Transaction, room: Room, thread_or_event_id: str) -> Thread:
    events = tables.events.c
    of_event = select(events.thread_id).where(
        events.space_key == room.key, events.event_id == thread_or_event_id, events.thread_id.is_not(None)
    )
    which = or_(
        _threads.c.thread_id == thread_or_event_id,
        _threads.c.parent_event_id == thread_or_event_id,
        _threads.c.thread_id == of_event.scalar_subquery(),
    )
    row = tx.first(select(_threads).where(_threads.c.space_key == room.key, which).limit(1))
    if row is None:
        raise NotFound(
            f"There is no thread {thread_or_event_id}", hint="POST /api/spaces/{space_id}/threads begins one"
        )
    return _thread(row, room)


def _thread(row: Row[Any], room: Room) -> Thread:
    values = dict(row._mapping)
    del values["space_key"]
    return Thread(space_id=room.space_id, **values)
