"""Threads, decisions, questions, links, timers, archives, activity, summary, orientation, pruning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import update

from moot.server import clock
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.delivery import feeds, receipts
from moot.server.events import pruning, reading
from moot.server.objects import activity, archives, decisions, links, orientation, questions, threads, timers
from moot.server.results import Event, QuestionState, TimerType
from moot.server.spaces import participants, spaces
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound
from tests.moot.server.conftest import SPACE, Team, new_person

Result = TypeVar("Result")
LINK: Any = {"link_type": "tracks", "target_id": None, "target_uri": "https://example.org", "attributes": None}


def write(team: Team, work: Callable[[Transaction], Result]) -> Result:
    return team.database.write(work)


def events_of(team: Team) -> list[Event]:
    return team.database.read(lambda tx: reading.page(tx, team.room(), 200))


def test_a_thread_begins_once_and_is_found_by_every_event_in_it(team: Team) -> None:
    root = team.post(team.spec, "a question")
    thread = write(team, lambda tx: threads.begin(tx, team.qa, team.room(), root.event_id, "subject"))
    assert write(team, lambda tx: threads.begin(tx, team.spec, team.room(), root.event_id, None)) == thread
    reply = team.post(team.qa, "an answer", thread_id=thread.thread_id)
    again = team.post(team.spec, "thanks", parent_event_id=reply.event_id)

    assert again.thread_id == thread.thread_id
    for one in (thread.thread_id, root.event_id, again.event_id):
        found = team.database.read(partial(threads.get, caller=team.person, space_id=SPACE, thread_or_event_id=one))
        assert [event.text for event in found.messages] == ["a question", "an answer", "thanks"]
    receipt = team.database.read(lambda tx: receipts.of_event(tx, team.room(), reply.event_id))
    assert [(one.recipient_id, one.relevance) for one in receipt] == [(team.spec.actor_id, "thread_reply")]


def test_there_is_no_thread_at_an_event_that_began_none(team: Team) -> None:
    event = team.post(team.spec, "hello")
    with pytest.raises(NotFound):
        team.database.read(lambda tx: threads.get(tx, team.spec, SPACE, event.event_id))


def test_a_decision_is_decided_once_and_answers_its_question(team: Team) -> None:
    question = write(team, lambda tx: questions.ask(tx, team.spec, team.room(), "which?", team.qa.actor_id))
    decision = write(team, lambda tx: decisions.propose(tx, team.qa, team.room(), "the first", question.question_id))

    def resolve(status: str) -> str:
        return write(
            team,
            lambda tx: decisions.resolve(
                tx, team.person, team.room(), decision.decision_id, resolution="yes", status=status
            ),
        ).status

    assert resolve("resolved") == "resolved"
    with pytest.raises(Conflict, match="resolved already"):
        resolve("rejected")
    answered = team.database.read(lambda tx: questions.get(tx, team.spec, SPACE, question.question_id))
    assert (answered.status, answered.answer, answered.decision_id) == ("answered", "yes", decision.decision_id)
    assert [event.text for event in events_of(team)] == [
        "which?",
        "[DECISION proposed] the first",
        "[DECISION resolved] the first\nyes",
    ]
    assert team.database.read(lambda tx: decisions.counts(tx, team.spec, SPACE)).resolved == 1


def test_a_rejected_decision_leaves_its_question_open(team: Team) -> None:
    question = write(team, lambda tx: questions.ask(tx, team.spec, team.room(), "which?", None))
    decision = write(team, lambda tx: decisions.propose(tx, team.qa, team.room(), "the first", question.question_id))
    write(
        team,
        lambda tx: decisions.resolve(
            tx, team.spec, team.room(), decision.decision_id, resolution="no", status="rejected"
        ),
    )

    assert team.database.read(lambda tx: questions.get(tx, team.spec, SPACE, question.question_id)).status == "open"


def test_links_lead_to_spaces_of_the_tenant_alone(team: Team) -> None:
    stranger = write(team, lambda tx: new_person(tx, "Stranger")[1])
    write(team, lambda tx: spaces.create(tx, stranger, "theirs"))
    write(team, lambda tx: spaces.create(tx, team.person, "ours"))

    def link(target_id: str | None, target_uri: str | None = None) -> str:
        made = write(
            team,
            lambda tx: links.add(
                tx,
                team.spec,
                team.room(),
                link_type="tracks",
                target_id=target_id,
                target_uri=target_uri,
                attributes={"a": 1},
            ),
        )
        return made.link_id

    first = link("ours")
    with pytest.raises(NotFound):
        link("theirs")
    with pytest.raises(InvalidRequest):
        link("ours", "https://example.org")
    rooms = team.database.read(lambda tx: links.linked_rooms(tx, team.spec, "ours"))
    assert {room.space_id for room in rooms} == {SPACE, "ours"}
    write(team, lambda tx: links.remove(tx, team.room(), first))
    with pytest.raises(NotFound):
        write(team, lambda tx: links.remove(tx, team.room(), first))


def schedule(team: Team, tool: str, kind: TimerType = "interval", seconds: int = 60) -> str:
    """Schedule a call of Spec; return the timer's id."""
    timer = write(
        team,
        lambda tx: timers.add(
            tx, team.spec, team.room(), tool=tool, arguments={"detail": "full"}, kind=kind, seconds=seconds
        ),
    )
    return timer.timer_id


def fire(team: Team, seconds: int = 3600) -> int:
    """Let so many seconds pass for all timers, and fire what is due."""
    earlier = clock.seconds_from_now(-seconds)
    pending = tables.timers.c.next_fire_at.is_not(None)
    write(team, lambda tx: tx.execute(update(tables.timers).where(pending).values(next_fire_at=earlier)))
    return write(team, timers.fire_due)


@pytest.mark.parametrize("tool", timers.TOOLS)
def test_a_timer_tells_its_agent_what_is_new(team: Team, tool: str) -> None:
    schedule(team, tool)
    team.post(team.qa, "@Spec look at this")

    assert fire(team) == 1
    last = events_of(team)[-1]
    assert (last.speaker_id, last.speaker_type) == ("system", "system")
    assert last.text.startswith(f"[{tool}]\n") and last.metadata is not None
    assert last.metadata["mentions"] == [team.spec.actor_id]
    deliveries = team.database.read(lambda tx: receipts.of_event(tx, team.room(), last.event_id))
    assert [one.recipient_id for one in deliveries] == [team.spec.actor_id]


@pytest.mark.parametrize("tool", ["get_recent_context", "get_mentions"])
def test_a_timer_without_news_is_silent(team: Team, tool: str) -> None:
    schedule(team, tool)
    team.post(team.qa, "@Spec look")
    fire(team)
    before = len(events_of(team))
    team.post(team.spec, "my own words about @QA")

    assert fire(team) == 1
    assert len(events_of(team)) == before + 1


@pytest.mark.parametrize("tool", ["get_recent_context", "get_mentions"])
def test_a_timer_shows_the_newest_and_says_how_many_it_leaves_out(team: Team, tool: str) -> None:
    schedule(team, tool)
    for number in range(53):
        team.post(team.qa, f"@Spec number {number}.")
        team.post(team.spec, "my own words")

    fire(team)

    text = events_of(team)[-1].text
    assert text.startswith(f"[{tool}]\n(3 before these are left out)\n")
    assert "number 2." not in text and "number 3." in text and "number 52." in text


def test_a_timer_leaves_out_the_oldest_of_long_messages(team: Team) -> None:
    schedule(team, "get_recent_context")
    for number in range(3):
        team.post(team.qa, f"{number}: " + "x" * 9_000)

    fire(team)

    text = events_of(team)[-1].text
    assert "(1 before these are left out)" in text and "2: x" in text and "0: x" not in text


def test_a_delay_fires_once_and_an_interval_again_and_again(team: Team) -> None:
    schedule(team, "list_participants", "delay", 30)
    interval = schedule(team, "list_participants")

    assert [fire(team) for _ in range(3)] == [2, 1, 1]
    left = team.database.read(lambda tx: timers.all_of(tx, team.spec, SPACE))
    assert [(one.timer_id, one.fire_count) for one in left] == [(interval, 3)]
    assert write(team, timers.fire_due) == 0


@pytest.mark.parametrize(
    ("tool", "kind", "seconds"),
    [("share", "interval", 60), ("get_mentions", "interval", 59), ("get_mentions", "delay", 29)],
)
def test_a_timer_that_cannot_be_is_refused(team: Team, tool: str, kind: TimerType, seconds: int) -> None:
    with pytest.raises(InvalidRequest):
        schedule(team, tool, kind, seconds)


def test_a_timer_is_its_agents_own(team: Team) -> None:
    timer_id = schedule(team, "get_mentions")

    assert team.database.read(lambda tx: timers.all_of(tx, team.qa, SPACE)) == []
    with pytest.raises(NotFound):
        write(team, lambda tx: timers.cancel(tx, team.qa, team.room(), timer_id))
    write(team, lambda tx: timers.cancel(tx, team.spec, team.room(), timer_id))


def test_a_session_is_archived_once(team: Team) -> None:
    def add() -> str:
        made = write(
            team,
            lambda tx: archives.add(tx, team.spec, team.room(), session_id="s1", summary="did it", metadata={"a": 1}),
        )
        return made.archive_id

    archive_id = add()
    with pytest.raises(Conflict, match="Session s1 already archived"):
        add()
    found = team.database.read(lambda tx: archives.get(tx, team.qa, SPACE, archive_id))
    assert (found.summary, found.metadata) == ("did it", {"a": 1})


def test_lists_of_objects_end_with_the_newest(team: Team) -> None:
    made = [write(team, lambda tx: questions.ask(tx, team.spec, team.room(), "?", None)).question_id for _ in range(7)]

    def page(before: str | None, limit: int, status: QuestionState | None = None) -> list[str]:
        found = team.database.read(lambda tx: questions.all_of(tx, team.qa, SPACE, status, before=before, limit=limit))
        return [one.question_id for one in found]

    assert page(None, 3) == made[4:]
    assert page(made[4], 3) == made[1:4]
    assert page(made[1], 3, "open") == made[:1]
    assert page(made[0], 3) == []
    with pytest.raises(NotFound, match="qst_0"):
        page("qst_0", 3)


def test_objects_that_were_made_at_one_instant_are_on_one_page_each(team: Team) -> None:
    made = {write(team, lambda tx: links.add(tx, team.spec, team.room(), **LINK)).link_id for _ in range(5)}
    write(team, lambda tx: tx.execute(update(tables.links).values(created_at=clock.now())))

    def page(before: str | None) -> list[str]:
        found = team.database.read(lambda tx: links.all_of(tx, team.qa, SPACE, before=before, limit=2))
        return [one.link_id for one in found]

    found = page(None)
    while more := page(found[0]):
        found = more + found
    assert len(found) == 5 and set(found) == made


def test_activity_and_summary_are_about_their_time(team: Team) -> None:
    for number in range(30):
        team.post([team.spec, team.qa][number % 2], f"the parser of manifests, part {number}")
    late = clock.seconds_from_now(60)

    found = team.database.read(lambda tx: activity.since(tx, team.person, SPACE, clock.seconds_from_now(-60), 2))
    assert [(one.name, one.event_count, len(one.summary_events)) for one in found.participants] == [
        ("QA", 15, 2),
        ("Spec", 15, 2),
    ]
    assert team.database.read(lambda tx: activity.since(tx, team.person, SPACE, late, 2)).participants == []
    text = team.database.read(lambda tx: activity.summary(tx, team.person, SPACE, None, None)).summary_text
    assert text.startswith("30 events") and text.count("\n- ") == 20
    empty = team.database.read(lambda tx: activity.summary(tx, team.person, SPACE, late, None))
    assert empty.summary_text == "(no events)"


def test_orientation_has_what_waits_and_joins_the_focus_space(team: Team) -> None:
    team.post(team.qa, "@Spec one")
    team.post(team.qa, "@Spec two")
    write(team, lambda tx: participants.set_status(tx, team.room(), team.spec, "designing"))
    write(team, lambda tx: spaces.create(tx, team.person, "new"))

    found = write(team, lambda tx: orientation.of(tx, team.spec))

    assert found.focus_space is not None and found.focus_space.space_id == SPACE
    assert (found.unread_mentions, found.last_status) == (2, "designing")
    assert {one.name for one in found.participants} == {"Person", "QA", "Spec"}
    assert found.context is not None and "@Spec two" in found.context


def test_orientation_of_somebody_without_a_space_is_empty(team: Team) -> None:
    stranger = write(team, lambda tx: new_person(tx, "Stranger")[1])

    found = write(team, lambda tx: orientation.of(tx, stranger))

    assert found.focus_space is None and found.context is None


def test_a_subscriber_from_before_what_was_pruned_is_told_of_the_gap(team: Team) -> None:
    events = [team.post(team.spec, f"@QA {number}") for number in range(10)]
    assert write(team, lambda tx: pruning.prune(tx, team.room(), keep=4)) == 6
    assert write(team, lambda tx: pruning.prune(tx, team.room(), keep=4)) == 0

    def start(since: str | None, most: int = 1000) -> tuple[int, int]:
        return write(team, lambda tx: feeds.start_position(tx, team.room(), team.qa, since, most=most))

    assert start("3") == (6, 6)
    assert start("6") == (6, 0)
    assert start(events[8].event_id) == (9, 0)
    assert start(None) == (9, 0)
    assert team.post(team.spec, "next").sequence == 11
    assert start(events[0].event_id) == (6, 6)


def test_a_subscriber_from_an_event_that_never_was_is_refused(team: Team) -> None:
    with pytest.raises(NotFound):
        write(team, lambda tx: feeds.start_position(tx, team.room(), team.qa, "evt_0", most=1000))


def test_a_subscriber_that_was_too_slow_for_a_prune_is_told_of_the_gap(team: Team) -> None:
    for number in range(4):
        team.post(team.spec, str(number))

    async def story() -> list[str]:
        live = feeds.Feeds(team.database)
        live.start()
        subscription = feeds.Subscription(team.room(), team.qa, team.keys["qa"], 1)
        live.subscribe(subscription)
        await asyncio.to_thread(write, team, lambda tx: pruning.prune(tx, team.room(), keep=1))
        return [frame.text for frame in await asyncio.wait_for(live.next_frames(subscription), 30)]

    gap, event = (json.loads(text) for text in asyncio.run(story()))

    assert gap == {"type": "gap", "space_id": SPACE, "up_to_sequence": 3}
    assert event["data"]["sequence"] == 4


def test_what_was_pruned_is_not_counted(team: Team) -> None:
    for number in range(5):
        team.post(team.spec, str(number))
    write(team, lambda tx: pruning.prune(tx, team.room(), keep=2))

    shown = team.room().shown()
    assert (shown.event_count, shown.last_sequence) == (2, 5)


def test_a_subscriber_without_a_cursor_gets_a_bounded_past(team: Team) -> None:
    for number in range(10):
        team.post(team.spec, str(number))

    found = write(team, lambda tx: feeds.start_position(tx, team.room(), team.qa, None, most=4))

    assert found == (6, 6)
