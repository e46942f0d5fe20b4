"""The recipients of a message, and the reason for each.

A message is addressed to those whom its metadata mentions or whose `@Name` is in its text, to those who have spoken in
its thread, and, when it is about a decision, to all participants; never to its speaker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import insert, select

from moot.server import clock
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.results import DeliveryState, Relevance
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import InvalidRequest

SYSTEM = "system"
"""The speaker id of the server's own messages. Replies mention it; nobody receives them."""
DECISION: Relevance = "decision"
MENTION: Relevance = "mention"
THREAD_REPLY: Relevance = "thread_reply"
_QUEUED: DeliveryState = "queued"
_MOST_MENTIONS = 200
_WORD, _CONTINUES = re.compile(r"\w"), re.compile(r"\w|-\w")


def queue(
    tx: Transaction,
    room: Room,
    *,
    sequence: int,
    speaker_id: str,
    text: str,
    thread_id: str | None,
    metadata: Mapping[str, Any] | None,
) -> None:
    """Queue a delivery for each recipient of a message. Raises `InvalidRequest` for a mention of nobody."""
    metadata = metadata or {}
    mentioned = _mentions(tx, room, metadata.get("mentions"), text)
    relevance = dict.fromkeys(mentioned, MENTION)
    if thread_id is not None:
        speakers = tables.thread_speakers.c
        for (actor_id,) in tx.rows(select(speakers.actor_id).where(speakers.thread_id == thread_id)):
            relevance.setdefault(actor_id, THREAD_REPLY)
    if text.startswith("[DECISION") or metadata.get("message_type") == DECISION:
        for actor_id, _ in _participants(tx, room):
            relevance.setdefault(actor_id, DECISION)
    relevance.pop(speaker_id, None)
    if relevance:
        row = {
            "space_key": room.key,
            "sequence": sequence,
            "state": _QUEUED,
            "queued_at": tx.now,
            "deadline_at": clock.seconds_from_now(tx.acknowledge_seconds),
        }
        rows = [{**row, "recipient_id": actor_id, "relevance": why} for actor_id, why in relevance.items()]
        tx.execute(insert(tables.deliveries), rows)


def _mentions(tx: Transaction, room: Room, given: object, text: str) -> list[str]:
    given = [] if given is None else given
    if not isinstance(given, list) or len(given) > _MOST_MENTIONS:
        raise InvalidRequest(f"mentions must be a list of at most {_MOST_MENTIONS} ids of participants")
    ids = [one for one in given if isinstance(one, str)]
    if len(ids) < len(given):
        raise InvalidRequest("each of the mentions must be the id of a participant")
    wanted = list(dict.fromkeys(one for one in ids if one != SYSTEM))
    found: list[str] = []
    if wanted:
        actors = tables.actors.c
        statement = select(actors.actor_id).where(
            actors.actor_id.in_(wanted), actors.tenant_id == room.tenant_id, actors.deleted_at.is_(None)
        )
        known = {actor_id for (actor_id,) in tx.rows(statement)}
        _refuse_unknown(one for one in wanted if one not in known)
        found += wanted
    if "@" in text:
        found += _named(text, _participants(tx, room))
    return found


def _named(text: str, participants: Iterable[tuple[str, str]]) -> list[str]:
    """Return the ids of those whose `@Name` is in a text as a word; of two at one place the longer counts."""
    folded = text.casefold()
    ends: dict[int, int] = {}
    found: list[tuple[str, int, int]] = []
    for actor_id, name in participants:
        word = f"@{name}".casefold()
        at = folded.find(word)
        while at >= 0:
            end = at + len(word)
            if not _WORD.match(folded[at - 1 : at]) and not _CONTINUES.match(folded, end):
                found.append((actor_id, at, end))
                ends[at] = max(end, ends.get(at, 0))
            at = folded.find(word, end)
    return list(dict.fromkeys(actor_id for actor_id, at, end in found if ends[at] == end))


def _refuse_unknown(unknown: Iterable[str]) -> None:
    if names := sorted(unknown):
        raise InvalidRequest(
            f"There is no participant {', '.join(names)[:200]} to mention",
            hint="mention by participant_id: GET /api/spaces/{space_id}/participants lists them",
        )


def _participants(tx: Transaction, room: Room) -> list[tuple[str, str]]:
    actors, joined = tables.actors, tables.participants
    statement = select(actors.c.actor_id, actors.c.display_name).join(joined).where(joined.c.space_key == room.key)
    return [(row.actor_id, row.display_name) for row in tx.rows(statement)]
