"""To whom a message is addressed, and the states of its delivery."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from moot.server import clock
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.delivery import feeds, receipts, turns
from moot.server.events import reading
from moot.server.identity import actors
from moot.server.identity.callers import Caller, authenticate
from moot.server.results import Event
from moot.server.spaces import participants
from pyro_mcp.errors import Conflict, NotFound
from tests.moot.server.conftest import SPACE, Team


def states(team: Team, event: Event) -> dict[str, tuple[str, str]]:
    """Return the relevance and the state of a message's deliveries, by the recipient's name."""
    names = {caller.actor_id: caller.display_name for caller in (team.person, team.spec, team.qa)}
    found = team.database.read(lambda tx: receipts.of_event(tx, team.room(), event.event_id))
    return {names[one.recipient_id]: (one.relevance, one.state) for one in found}


def push(team: Team, caller: Caller, sequence: int) -> None:
    spans = {(team.room().key, caller.actor_id): [(0, sequence)]}
    team.database.write(lambda tx: receipts.pushed(tx, spans))


def make_late(team: Team) -> None:
    """Let the deadline of all deliveries pass."""
    team.database.write(lambda tx: tx.execute(update(tables.deliveries).values(deadline_at=clock.now())))


def test_a_message_is_addressed_to_those_whom_it_mentions_in_its_list_or_its_text(team: Team) -> None:
    event = team.post(team.person, "@SPEC please", metadata={"mentions": [team.qa.actor_id, "system"]})

    assert states(team, event) == {"Spec": ("mention", "queued"), "QA": ("mention", "queued")}


def test_a_message_is_not_addressed_to_its_speaker(team: Team) -> None:
    assert states(team, team.post(team.spec, "I am @Spec", metadata={"mentions": [team.spec.actor_id]})) == {}


@pytest.mark.parametrize(("text", "metadata"), [("[DECISION] x", None), ("x", {"message_type": "decision"})])
def test_a_decision_is_addressed_to_all(team: Team, text: str, metadata: dict[str, object] | None) -> None:
    event = team.post(team.spec, text, metadata=metadata)

    assert states(team, event) == {"Person": ("decision", "queued"), "QA": ("decision", "queued")}


def test_a_message_is_acknowledged_after_it_was_pushed(team: Team) -> None:
    event = team.post(team.person, "@Spec")
    push(team, team.spec, event.sequence)
    assert states(team, event) == {"Spec": ("mention", "pushed")}

    cursor = team.database.write(
        lambda tx: receipts.acknowledge_up_to(tx, team.room(), team.spec.actor_id, event.sequence)
    )

    assert states(team, event) == {"Spec": ("mention", "acknowledged")}
    assert (cursor.pushed_sequence, cursor.acknowledged_sequence) == (1, 1)


def test_only_what_was_sent_is_pushed(team: Team) -> None:
    skipped, sent = team.post(team.person, "@Spec one"), team.post(team.person, "@Spec two")
    spans = {(team.room().key, team.spec.actor_id): [(1, 2)]}

    team.database.write(lambda tx: receipts.pushed(tx, spans))

    assert states(team, skipped)["Spec"][1] == "queued"
    assert states(team, sent)["Spec"][1] == "pushed"


def sent_again(team: Team, caller: Caller) -> list[str]:
    found = team.database.read(lambda tx: receipts.to_send_again(tx, team.room(), caller.actor_id))
    return [event.text for event in found]


def test_a_mention_from_before_the_joining_is_sent_to_the_one_who_joins(team: Team) -> None:
    def new_agent(tx: Transaction) -> Caller:
        actor_id = actors.new_agent(tx, team.person, "Late", focus_space_id=SPACE)
        return authenticate(tx, actors.rotate_key(tx, team.person, actor_id, force=False).api_key)

    late = team.database.write(new_agent)
    team.post(team.person, "please", metadata={"mentions": [late.actor_id]})
    team.post(team.person, "other words")

    team.database.write(lambda tx: participants.join(tx, team.room(), late.actor_id))

    assert sent_again(team, late) == ["please"]


def test_a_mention_in_a_gap_is_sent_by_itself(team: Team) -> None:
    for text in ("@Spec one", "two", "@Spec three", "four"):
        team.post(team.person, text)
    room = team.room()

    found = team.database.write(lambda tx: feeds.start_position(tx, room, team.spec, None, most=2))

    assert found == (2, 2)
    assert sent_again(team, team.spec) == ["@Spec one"]


def test_cursors_never_go_back_nor_beyond_the_log(team: Team) -> None:
    for _ in range(3):
        team.post(team.person, "@Spec")
    push(team, team.spec, 3)
    push(team, team.spec, 1)

    def acknowledge(sequence: int) -> int:
        room = team.room()
        return team.database.write(
            lambda tx: receipts.acknowledge_up_to(tx, room, team.spec.actor_id, sequence).acknowledged_sequence
        )

    assert [acknowledge(2), acknowledge(1), acknowledge(99)] == [2, 2, 3]
    cursor = team.database.read(lambda tx: receipts.cursor(tx, team.room(), team.spec.actor_id))
    assert cursor.pushed_sequence == 3


def test_a_write_acknowledges_what_was_pushed_before_and_nothing_else(team: Team) -> None:
    seen, unseen = team.post(team.person, "@Spec one"), team.post(team.person, "@Spec two")
    push(team, team.spec, seen.sequence)

    team.database.write(lambda tx: turns.wrote(tx, team.spec, team.room()))

    assert states(team, seen)["Spec"][1] == "acknowledged"
    assert states(team, unseen)["Spec"][1] == "queued"


def test_a_read_of_mentions_acknowledges_those_that_it_returns(team: Team) -> None:
    first, second = team.post(team.person, "@Spec @QA"), team.post(team.person, "@Spec")
    room = team.room()
    found = team.database.read(lambda tx: reading.mentions(tx, room, team.spec.actor_id, 1))
    assert [event.event_id for event in found] == [second.event_id]

    team.database.write(lambda tx: turns.has_read(tx, team.spec, SPACE, found))

    assert states(team, second)["Spec"][1] == "acknowledged"
    assert states(team, first) == {"Spec": ("mention", "queued"), "QA": ("mention", "queued")}
    assert team.database.read(lambda tx: receipts.unread_mentions(tx, room, team.spec.actor_id)) == 1


def test_a_message_is_dead_after_its_deadline_and_can_be_sent_again(team: Team) -> None:
    event = team.post(team.person, "@Spec @QA")
    make_late(team)
    push(team, team.qa, event.sequence)
    room = team.room()

    assert team.database.write(receipts.bury) == 2
    dead = team.database.read(lambda tx: receipts.of_recipient(tx, room, None, "dead", limit=10))
    assert {one.recipient_id: one.reason for one in dead} == {
        team.spec.actor_id: "the recipient was not connected until the deadline",
        team.qa.actor_id: "the recipient did not acknowledge it until the deadline",
    }

    def revive() -> str:
        again = team.database.write(lambda tx: receipts.revive(tx, room, team.spec.actor_id, event.sequence))
        return again.state

    assert revive() == "queued"
    with pytest.raises(Conflict, match="queued"):
        revive()
    assert team.database.write(receipts.bury) == 0
    with pytest.raises(NotFound):
        team.database.write(lambda tx: receipts.revive(tx, room, team.person.actor_id, event.sequence))


def test_a_dead_message_stays_dead_when_its_recipient_claims_to_have_it(team: Team) -> None:
    event = team.post(team.person, "@Spec")
    make_late(team)
    team.database.write(receipts.bury)

    team.database.write(lambda tx: receipts.claimed(tx, team.room(), team.spec.actor_id, event.sequence))

    assert states(team, event)["Spec"][1] == "dead"


def test_a_dead_message_that_is_sent_or_acknowledged_is_not_dead_any_more(team: Team) -> None:
    event = team.post(team.person, "@Spec @QA")
    make_late(team)
    team.database.write(receipts.bury)
    room = team.room()

    push(team, team.spec, event.sequence)
    team.database.write(lambda tx: receipts.acknowledge(tx, room, team.qa.actor_id, [event.sequence]))

    assert team.database.write(receipts.bury) == 0
    found = team.database.read(lambda tx: receipts.of_event(tx, room, event.event_id))
    assert {(one.state, one.dead_at, one.reason) for one in found} == {
        ("pushed", None, None),
        ("acknowledged", None, None),
    }


def test_replies_in_a_thread_are_addressed_to_its_speakers(team: Team) -> None:
    root = team.post(team.spec, "a question")
    with_thread = {"thread_id": "thr_1", "space_key": team.room().key, "parent_event_id": root.event_id}
    row = {**with_thread, "created_by": team.qa.actor_id, "created_at": root.timestamp}
    team.database.write(lambda tx: tx.insert_if_new(tables.threads, row))

    team.post(team.spec, "more", thread_id="thr_1")
    reply = team.post(team.qa, "an answer", thread_id="thr_1")

    assert states(team, reply) == {"Spec": ("thread_reply", "queued")}
