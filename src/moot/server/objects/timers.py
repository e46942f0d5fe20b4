"""Calls that the server makes for an agent: once after a delay, or again and again. They outlive restarts.

The result of a call is a message of the server that mentions the agent; an empty result is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from moot.id_encoding import new_id
from moot.response_format import (
    Detail,
    format_activity,
    format_events,
    format_mentions,
    format_participants,
    format_space_status,
)
from moot.server import clock
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.events import log, reading
from moot.server.events.addressing import SYSTEM
from moot.server.events.log import Draft
from moot.server.identity.callers import Caller
from moot.server.objects import activity
from moot.server.results import SpaceStatus, Timer, TimerType
from moot.server.spaces import participants, spaces
from moot.server.spaces.spaces import ACTIVE, Room
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound

TOOLS = ("get_recent_context", "get_mentions", "get_activity", "list_participants", "get_space_status")
_SHORTEST: Mapping[TimerType, int] = {"interval": 60, "delay": 30}
_MOST_OF_ONE_AGENT = 50
_MOST_EVENTS = 50
_MOST_CHARACTERS = 20_000
_timers = tables.timers


def add(
    tx: Transaction,
    caller: Caller,
    room: Room,
    *,
    tool: str,
    arguments: Mapping[str, Any],
    kind: TimerType,
    seconds: int,
) -> Timer:
    """Schedule a call. Raises `InvalidRequest` for another tool, or a time that is too short."""
    if tool not in TOOLS:
        raise InvalidRequest(f"{tool!r} cannot be scheduled", hint=f"choose from {', '.join(TOOLS)}")
    if seconds < _SHORTEST[kind]:
        raise InvalidRequest(f"the shortest {kind} is {_SHORTEST[kind]} seconds")
    if len(_pending(tx, caller, room)) >= _MOST_OF_ONE_AGENT:
        raise Conflict(f"An agent may have at most {_MOST_OF_ONE_AGENT} timers in a space", hint="delete some")
    participants.join(tx, room, caller.actor_id)
    timer_id = new_id("tmr")
    values = {"timer_id": timer_id, "tool_name": tool, "tool_args": dict(arguments), "timer_type": kind}
    times = {"duration_secs": seconds, "created_at": tx.now, "next_fire_at": clock.seconds_from_now(seconds)}
    who = {"space_key": room.key, "actor_id": caller.actor_id, "seen_sequence": room.last_sequence}
    tx.execute(insert(_timers).values(**values, **times, **who))
    return _timer(tx.rows(select(_timers).where(_timers.c.timer_id == timer_id))[0], room)


def all_of(tx: Transaction, caller: Caller, space_id: str) -> list[Timer]:
    """Return the caller's timers in a space that will fire, in the order of their making."""
    room = spaces.find(tx, caller, space_id)
    return [_timer(row, room) for row in _pending(tx, caller, room)]


def _pending(tx: Transaction, caller: Caller, room: Room) -> Sequence[Row[Any]]:
    mine = (_timers.c.space_key == room.key, _timers.c.actor_id == caller.actor_id)
    statement = select(_timers).where(*mine, _timers.c.next_fire_at.is_not(None)).order_by(_timers.c.created_at)
    return tx.rows(statement)


def cancel(tx: Transaction, caller: Caller, room: Room, timer_id: str) -> None:
    """Remove a timer of the caller. Raises `NotFound`."""
    mine = (_timers.c.space_key == room.key, _timers.c.actor_id == caller.actor_id, _timers.c.timer_id == timer_id)
    if tx.execute(delete(_timers).where(*mine)).rowcount == 0:
        raise NotFound(f"There is no timer {timer_id} of yours")


def next_due(tx: Transaction) -> str | None:
    """Return the time at which the next timer fires."""
    found = tx.first(select(func.min(_timers.c.next_fire_at)))
    return found[0] if found else None


def fire_due(tx: Transaction) -> int:
    """Fire all timers whose time has come; return how many. A transaction fires each once, whoever else tries."""
    due = tx.rows(select(_timers).where(_timers.c.next_fire_at <= tx.now).order_by(_timers.c.next_fire_at))
    for timer in due:
        room = spaces.by_key(tx, timer.space_key)
        if room.status == ACTIVE:
            _fire(tx, timer, room)
        again = timer.timer_type == "interval"
        tx.execute(
            update(_timers)
            .where(_timers.c.timer_id == timer.timer_id)
            .values(
                next_fire_at=clock.seconds_from_now(timer.duration_secs) if again else None,
                seen_sequence=spaces.by_key(tx, timer.space_key).last_sequence,
            )
        )
    return len(due)


def _fire(tx: Transaction, timer: Row[Any], room: Room) -> None:
    text = _result(tx, timer, room)
    if not text:
        return
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]}... [truncated; call {timer.tool_name} for all]"
    metadata = {"message_type": "timer", "mentions": [timer.actor_id], "timer_id": timer.timer_id}
    log.append(tx, room, log.SERVER, Draft(f"[{timer.tool_name}]\n{text}", metadata=metadata))
    one = _timers.c.timer_id == timer.timer_id
    tx.execute(update(_timers).where(one).values(fire_count=_timers.c.fire_count + 1))


def _result(tx: Transaction, timer: Row[Any], room: Room) -> str:
    """Return the result of a timer's call since it fired last; "" when there is nothing."""
    given = timer.tool_args.get("detail")
    detail: Detail = given if given in ("minimal", "standard", "full") else "minimal"
    if timer.tool_name in ("get_recent_context", "get_mentions"):
        return _news(tx, timer, room, detail)
    if timer.tool_name == "get_activity":
        recent = activity.of_room(tx, room, clock.seconds_from_now(-timer.duration_secs), 5)
        recent.participants = [one for one in recent.participants if one.participant_id not in (SYSTEM, timer.actor_id)]
        return format_activity(recent.model_dump(), detail) if recent.participants else ""
    present = participants.all_of(tx, room)
    if timer.tool_name == "list_participants":
        return format_participants(present, detail)
    return format_space_status(SpaceStatus(**room.shown().model_dump(), participants=present), detail)


def _news(tx: Transaction, timer: Row[Any], room: Room, detail: Detail) -> str:
    """Return the newest messages or mentions since a timer fired last, and how many older ones are left out."""
    only_mentions = timer.tool_name == "get_mentions"
    to = timer.actor_id if only_mentions else None
    others = (SYSTEM, timer.actor_id)
    found, left_out = reading.news(tx, room, timer.seen_sequence, _MOST_EVENTS, without=others, to=to)
    sizes = [len(format_events([event], detail)) for event in found]
    while len(sizes) > 1 and sum(sizes) > _MOST_CHARACTERS:
        sizes.pop(0)
        left_out += 1
    if not sizes:
        return ""
    shown = (format_mentions if only_mentions else format_events)(found[-len(sizes) :], detail)
    return f"({left_out} before these are left out)\n{shown}" if left_out else shown


def _timer(row: Row[Any], room: Room) -> Timer:
    values = {name: value for name, value in row._mapping.items() if name in Timer.model_fields}
    return Timer(space_id=room.space_id, **values)
