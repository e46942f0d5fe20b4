"""Questions: open, then answered or deferred. A new question is also a message to its assignee."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, insert, select, update

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.events import log
from moot.server.events.addressing import SYSTEM
from moot.server.events.log import Draft
from moot.server.events.reserved import require_unmarked
from moot.server.identity.callers import Caller
from moot.server.objects import pages
from moot.server.results import Question, QuestionState
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import InvalidRequest, NotFound

_questions = tables.questions


def ask(tx: Transaction, caller: Caller, room: Room, text: str, assigned_to: str | None) -> Question:
    """Record a question. Raises `InvalidRequest` when it is assigned to nobody of this tenant."""
    question_id = new_id("qst")
    require_unmarked(text, None)
    log.post(tx, caller, room, _message(question_id, text, assigned_to))
    values = {"question_id": question_id, "asked_by": caller.actor_id, "text": text, "assigned_to": assigned_to}
    times = {"created_at": tx.now, "updated_at": tx.now}
    tx.execute(insert(_questions).values(**values, **times, space_key=room.key, status="open"))
    return _find(tx, room, question_id)


def change(tx: Transaction, caller: Caller, room: Room, question_id: str, changes: Mapping[str, Any]) -> Question:
    """Set the status, the answer or the assignee of a question; a new assignee gets it as a message.

    Raises `NotFound`, and `InvalidRequest` when it is assigned to nobody of this tenant.
    """
    before, to = _find(tx, room, question_id), changes.get("assigned_to")
    if to is not None and to != before.assigned_to:
        log.post(tx, caller, room, _message(question_id, before.text, to))
    return _set(tx, room, question_id, changes)


def _message(question_id: str, text: str, assigned_to: str | None) -> Draft:
    """Return the message of a question. Raises `InvalidRequest` when it is assigned to the server."""
    if assigned_to == SYSTEM:
        raise InvalidRequest("A question is assigned to a participant", hint="the server answers none")
    metadata: dict[str, Any] = {"message_type": "question", "question_id": question_id}
    return Draft(text, metadata=metadata if assigned_to is None else {**metadata, "mentions": [assigned_to]})


def _set(tx: Transaction, room: Room, question_id: str, changes: Mapping[str, Any]) -> Question:
    _find(tx, room, question_id)
    values = {**changes, "updated_at": tx.now}
    tx.execute(update(_questions).where(_questions.c.question_id == question_id).values(**values))
    return _find(tx, room, question_id)


def link(tx: Transaction, room: Room, question_id: str, decision_id: str) -> None:
    """Record that a decision may answer a question. Raises `NotFound`."""
    _set(tx, room, question_id, {"decision_id": decision_id})


def answer(tx: Transaction, room: Room, question_id: str, text: str) -> None:
    """Record the answer of a question. Raises `NotFound`."""
    _set(tx, room, question_id, {"status": "answered", "answer": text})


def get(tx: Transaction, caller: Caller, space_id: str, question_id: str) -> Question:
    """Return a question. Raises `NotFound`."""
    return _find(tx, spaces.find(tx, caller, space_id), question_id)


def all_of(
    tx: Transaction,
    caller: Caller,
    space_id: str,
    status: QuestionState | None,
    *,
    before: str | None = None,
    limit: int = pages.MOST,
) -> list[Question]:
    """Return the newest questions of a space, in the order of their asking."""
    room = spaces.find(tx, caller, space_id)
    where = [] if status is None else [_questions.c.status == status]
    return [_question(row, room) for row in pages.newest(tx, room, _questions, *where, before=before, limit=limit)]


def _find(tx: Transaction, room: Room, question_id: str) -> Question:
    mine = (_questions.c.space_key == room.key, _questions.c.question_id == question_id)
    row = tx.first(select(_questions).where(*mine))
    if row is None:
        raise NotFound(f"There is no question {question_id}")
    return _question(row, room)


def _question(row: Row[Any], room: Room) -> Question:
    values = dict(row._mapping)
    del values["space_key"]
    return Question(space_id=room.space_id, **values)
