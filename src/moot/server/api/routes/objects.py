"""Threads, decisions, questions, links, timers, archives; activity, summary and search."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from moot.server import clock
from moot.server.api.call import WithCall
from moot.server.api.fields import Asked, InPath, Moment, count, storable
from moot.server.api.requests import (
    NewArchive,
    NewDecision,
    NewLink,
    NewQuestion,
    NewThread,
    NewTimer,
    QuestionChanges,
    Resolution,
    given_fields,
)
from moot.server.database.transaction import Transaction
from moot.server.events import searching
from moot.server.identity.callers import Caller
from moot.server.objects import activity, archives, decisions, links, pages, questions, threads, timers
from moot.server.results import (
    Activity,
    Archive,
    Decision,
    DecisionCounts,
    DecisionState,
    Done,
    Found,
    Link,
    Question,
    QuestionState,
    Summary,
    Thread,
    ThreadWithMessages,
    Timer,
)
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room

router = APIRouter(prefix="/api/spaces/{space_id}", tags=["objects"])
search_router = APIRouter(prefix="/api", tags=["objects"])
_HOUR_SECONDS = 3600


@router.get("/threads")
def list_threads(
    space_id: InPath, call: WithCall, *, before: Asked = None, limit: int = count(pages.MOST, pages.MOST)
) -> list[Thread]:
    """Return the newest threads of a space, before that with the id `before`; the oldest first."""
    return call.read(lambda tx, caller: threads.all_of(tx, caller, space_id, before=before, limit=limit))


@router.post("/threads")
def begin_thread(space_id: InPath, body: NewThread, call: WithCall) -> Thread:
    """Return the thread that begins at an event; make it first when there is none."""
    return call.write_in(
        space_id, lambda tx, caller, room: threads.begin(tx, caller, room, body.parent_event_id, body.subject)
    )


@router.get("/threads/{thread_or_event_id}")
def get_thread(space_id: InPath, thread_or_event_id: InPath, call: WithCall) -> ThreadWithMessages:
    """Return a thread by its id, or by an event in it, with its last 1,000 messages."""
    found = call.read(lambda tx, caller: threads.get(tx, caller, space_id, thread_or_event_id))
    call.has_read(space_id, found.messages)
    return found


@router.get("/decisions")
def list_decisions(
    space_id: InPath,
    call: WithCall,
    *,
    status: DecisionState | None = None,
    before: Asked = None,
    limit: int = count(pages.MOST, pages.MOST),
) -> list[Decision]:
    """Return the newest decisions of a space, before that with the id `before`; the oldest first."""
    return call.read(lambda tx, caller: decisions.all_of(tx, caller, space_id, status, before=before, limit=limit))


@router.post("/decisions")
def propose_decision(space_id: InPath, body: NewDecision, call: WithCall) -> Decision:
    """Propose a decision."""

    def work(tx: Transaction, caller: Caller, room: Room) -> Decision:
        body.check(caller)
        return decisions.propose(tx, caller, room, body.text, body.question_id)

    return call.write_in(space_id, work)


@router.get("/decisions/summary")
def count_decisions(space_id: InPath, call: WithCall) -> DecisionCounts:
    """Return how many decisions are in each state."""
    return call.read(lambda tx, caller: decisions.counts(tx, caller, space_id))


@router.get("/decisions/{decision_id}")
def get_decision(space_id: InPath, decision_id: InPath, call: WithCall) -> Decision:
    """Return a decision."""
    return call.read(lambda tx, caller: decisions.get(tx, caller, space_id, decision_id))


@router.put("/decisions/{decision_id}/resolve")
def resolve_decision(space_id: InPath, decision_id: InPath, body: Resolution, call: WithCall) -> Decision:
    """Resolve or reject a decision."""

    def work(tx: Transaction, caller: Caller, room: Room) -> Decision:
        body.check(caller)
        return decisions.resolve(tx, caller, room, decision_id, resolution=body.resolution, status=body.status)

    return call.write_in(space_id, work)


@router.get("/questions")
def list_questions(
    space_id: InPath,
    call: WithCall,
    *,
    status: QuestionState | None = None,
    before: Asked = None,
    limit: int = count(pages.MOST, pages.MOST),
) -> list[Question]:
    """Return the newest questions of a space, before that with the id `before`; the oldest first."""
    return call.read(lambda tx, caller: questions.all_of(tx, caller, space_id, status, before=before, limit=limit))


@router.post("/questions")
def ask_question(space_id: InPath, body: NewQuestion, call: WithCall) -> Question:
    """Ask a question."""

    def work(tx: Transaction, caller: Caller, room: Room) -> Question:
        body.check(caller)
        return questions.ask(tx, caller, room, body.text, body.assigned_to)

    return call.write_in(space_id, work)


@router.get("/questions/{question_id}")
def get_question(space_id: InPath, question_id: InPath, call: WithCall) -> Question:
    """Return a question."""
    return call.read(lambda tx, caller: questions.get(tx, caller, space_id, question_id))


@router.patch("/questions/{question_id}")
def change_question(space_id: InPath, question_id: InPath, body: QuestionChanges, call: WithCall) -> Question:
    """Answer, defer or reassign a question."""
    changes = given_fields(body)
    return call.write_in(space_id, lambda tx, caller, room: questions.change(tx, caller, room, question_id, changes))


@router.get("/links")
def list_links(
    space_id: InPath,
    call: WithCall,
    *,
    link_type: Asked = None,
    before: Asked = None,
    limit: int = count(pages.MOST, pages.MOST),
) -> list[Link]:
    """Return the newest links of a space, before that with the id `before`; the oldest first."""
    return call.read(lambda tx, caller: links.all_of(tx, caller, space_id, link_type, before=before, limit=limit))


@router.post("/links")
def add_link(space_id: InPath, body: NewLink, call: WithCall) -> Link:
    """Link a space to another one, or to a URI."""

    return call.write_in(space_id, lambda tx, caller, room: links.add(tx, caller, room, **body.model_dump()))


@router.delete("/links/{link_id}")
def remove_link(space_id: InPath, link_id: InPath, call: WithCall) -> Done:
    """Remove a link."""
    call.write_in(space_id, lambda tx, _, room: links.remove(tx, room, link_id))
    return Done(status="deleted")


@router.get("/timers")
def list_timers(space_id: InPath, call: WithCall) -> list[Timer]:
    """Return the caller's timers in a space."""
    return call.read(lambda tx, caller: timers.all_of(tx, caller, space_id))


@router.post("/timers", status_code=201)
def add_timer(space_id: InPath, body: NewTimer, call: WithCall) -> Timer:
    """Schedule a call, whose result the caller gets as a message."""

    def work(tx: Transaction, caller: Caller, room: Room) -> Timer:
        return timers.add(
            tx,
            caller,
            room,
            tool=body.tool_name,
            arguments=body.tool_args,
            kind=body.timer_type,
            seconds=body.duration_secs,
        )

    return call.write_in(space_id, work)


@router.delete("/timers/{timer_id}")
def cancel_timer(space_id: InPath, timer_id: InPath, call: WithCall) -> Done:
    """Remove a timer of the caller."""
    call.write_in(space_id, lambda tx, caller, room: timers.cancel(tx, caller, room, timer_id), active=False)
    return Done(status="cancelled")


@router.get("/archives")
def list_archives(
    space_id: InPath, call: WithCall, *, before: Asked = None, limit: int = count(pages.MOST, pages.MOST)
) -> list[Archive]:
    """Return the newest archives of a space, before that with the id `before`; the oldest first."""
    return call.read(lambda tx, caller: archives.all_of(tx, caller, space_id, before=before, limit=limit))


@router.post("/archives", status_code=201)
def add_archive(space_id: InPath, body: NewArchive, call: WithCall) -> Archive:
    """Keep the summary of a session."""

    return call.write_in(space_id, lambda tx, caller, room: archives.add(tx, caller, room, **body.model_dump()))


@router.get("/archives/{archive_id}")
def get_archive(space_id: InPath, archive_id: InPath, call: WithCall) -> Archive:
    """Return an archive."""
    return call.read(lambda tx, caller: archives.get(tx, caller, space_id, archive_id))


@router.get("/activity")
def get_activity(space_id: InPath, call: WithCall, since: Moment = None, max_events: int = count(5, 20)) -> Activity:
    """Return who has said how much since a time; since an hour ago, if no other time is given."""
    start = clock.seconds_from_now(-_HOUR_SECONDS) if since is None else clock.parsed(since, "since")
    return call.read(lambda tx, caller: activity.since(tx, caller, space_id, start, max_events))


@router.get("/summary")
def get_summary(
    space_id: InPath,
    call: WithCall,
    *,
    start: Moment = None,
    end: Moment = None,
    regenerate: bool = False,  # noqa: ARG001 - each answer is made anew
) -> Summary:
    """Return an extract of the events of a time; up to an hour ago, if no other end is given."""
    first = None if start is None else clock.parsed(start, "start")
    last = clock.seconds_from_now(-_HOUR_SECONDS) if end is None else clock.parsed(end, "end")
    return call.read(lambda tx, caller: activity.summary(tx, caller, space_id, first, last))


Wanted = Annotated[str, Query(min_length=1, max_length=1000), AfterValidator(storable)]


@search_router.get("/search")
def search(
    q: Wanted, call: WithCall, *, space_id: Asked = None, linked_to: Asked = None, limit: int = count(20, 100)
) -> list[Found]:
    """Return the latest messages that have all words: of one space, of one and those linked to it, or of all."""

    def work(tx: Transaction, caller: Caller) -> list[Found]:
        if space_id is not None:
            rooms = [spaces.find(tx, caller, space_id)]
        elif linked_to is not None:
            rooms = links.linked_rooms(tx, caller, linked_to)
        else:
            rooms = spaces.of_tenant(tx, caller)
        return searching.search(tx, q, rooms, limit)

    return call.read(work)
