"""Decisions: proposed, then once resolved or rejected. Each change is also a message, addressed to all.

Any participant may resolve a decision, also its own: `resolved_by_type` says whether a person or an agent did.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, insert, select, update

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.events import log
from moot.server.events.log import Draft
from moot.server.identity.actors import type_of
from moot.server.identity.callers import Caller
from moot.server.objects import pages, questions
from moot.server.results import Decision, DecisionCounts, DecisionState
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import Conflict, NotFound

_decisions = tables.decisions


def propose(tx: Transaction, caller: Caller, room: Room, text: str, question_id: str | None) -> Decision:
    """Record a proposed decision, which may answer a question. Raises `NotFound` for the question."""
    decision_id = new_id("dec")
    if question_id is not None:
        questions.link(tx, room, question_id, decision_id)
    values = {"decision_id": decision_id, "proposed_by": caller.actor_id, "text": text, "question_id": question_id}
    tx.execute(insert(_decisions).values(**values, space_key=room.key, status="proposed", created_at=tx.now))
    _tell(tx, caller, room, decision_id=decision_id, status="proposed", text=text)
    return _find(tx, room, decision_id)


def resolve(tx: Transaction, caller: Caller, room: Room, decision_id: str, *, resolution: str, status: str) -> Decision:
    """Resolve or reject a proposed decision; one that is resolved answers its question.

    Raises `NotFound`, and `Conflict` when it is not proposed any more.
    """
    before = _find(tx, room, decision_id)
    if before.status != "proposed":
        raise Conflict(f"The decision is {before.status} already", hint="propose a new one")
    values = {"status": status, "resolution": resolution, "resolved_by": caller.actor_id, "resolved_at": tx.now}
    tx.execute(update(_decisions).where(_decisions.c.decision_id == decision_id).values(**values))
    if before.question_id is not None and status == "resolved":
        questions.answer(tx, room, before.question_id, resolution)
    _tell(tx, caller, room, decision_id=decision_id, status=status, text=f"{before.text}\n{resolution}")
    return _find(tx, room, decision_id)


def get(tx: Transaction, caller: Caller, space_id: str, decision_id: str) -> Decision:
    """Return a decision. Raises `NotFound`."""
    return _find(tx, spaces.find(tx, caller, space_id), decision_id)


def all_of(
    tx: Transaction,
    caller: Caller,
    space_id: str,
    status: DecisionState | None,
    *,
    before: str | None = None,
    limit: int = pages.MOST,
) -> list[Decision]:
    """Return the newest decisions of a space, in the order of their making."""
    room = spaces.find(tx, caller, space_id)
    where = [] if status is None else [_decisions.c.status == status]
    return [_decision(row, room) for row in pages.newest(tx, room, _decisions, *where, before=before, limit=limit)]


def counts(tx: Transaction, caller: Caller, space_id: str) -> DecisionCounts:
    """Return how many decisions are in each state."""
    room = spaces.find(tx, caller, space_id)
    statement = select(_decisions.c.status, func.count().label("number")).where(_decisions.c.space_key == room.key)
    return DecisionCounts(**{row.status: row.number for row in tx.rows(statement.group_by(_decisions.c.status))})


def _tell(tx: Transaction, caller: Caller, room: Room, *, decision_id: str, status: str, text: str) -> None:
    metadata = {"message_type": "decision", "decision_id": decision_id, "decision_status": status}
    metadata["decision_by_type"] = caller.actor_type
    log.post(tx, caller, room, Draft(f"[DECISION {status}] {text}", metadata=metadata))


def _find(tx: Transaction, room: Room, decision_id: str) -> Decision:
    mine = (_decisions.c.space_key == room.key, _decisions.c.decision_id == decision_id)
    row = tx.first(select(_decisions).where(*mine))
    if row is None:
        raise NotFound(f"There is no decision {decision_id}")
    return _decision(row, room)


def _decision(row: Row[Any], room: Room) -> Decision:
    values = dict(row._mapping)
    del values["space_key"]
    by = values["resolved_by"]
    return Decision(space_id=room.space_id, resolved_by_type=None if by is None else type_of(by), **values)
