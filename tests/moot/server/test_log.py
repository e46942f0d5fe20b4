"""The log of a space: sequence numbers, speakers, threads, pages, search."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from moot.server.delivery.feeds import event_frame
from moot.server.errors import TooLarge
from moot.server.events import log, reading, searching
from moot.server.events.log import Draft
from moot.server.identity.callers import Caller
from moot.server.spaces import spaces
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound
from tests.moot.server.conftest import SPACE, Team, new_person


def test_sequence_numbers_have_no_holes_when_many_write_and_some_fail(team: Team) -> None:
    def post(number: int) -> None:
        if number % 3 == 0:
            with pytest.raises(InvalidRequest):
                team.post(team.spec, "lost", thread_id="thr_0")
        else:
            team.post([team.spec, team.qa, team.person][number % 2], f"message {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(post, range(60)))

    events = team.database.read(lambda tx: reading.page(tx, team.room(), 200))
    assert [event.sequence for event in events] == list(range(1, 41))
    assert {event.text for event in events} == {f"message {number}" for number in range(60) if number % 3}
    assert team.room().last_sequence == 40


def test_a_message_is_by_the_caller_alone(team: Team) -> None:
    event = team.post(team.spec, "hello", metadata={"speaker_id": team.person.actor_id})

    assert (event.speaker_id, event.speaker_name, event.speaker_type) == (team.spec.actor_id, "Spec", "agent")


def test_a_second_attempt_of_a_message_returns_the_first(team: Team) -> None:
    first = team.post(team.spec, "hello", idempotency_key="a")
    second = team.post(team.spec, "hello", idempotency_key="a")
    of_another = team.post(team.qa, "hello", idempotency_key="a")

    assert second == first
    assert of_another.sequence == 2


def test_an_idempotency_key_is_for_one_space_and_one_text(team: Team) -> None:
    first = team.post(team.spec, "hello", idempotency_key="a")
    other = team.database.write(lambda tx: spaces.create(tx, team.person, "other"))
    draft = Draft("elsewhere", idempotency_key="a")

    elsewhere = team.database.write(lambda tx: log.post(tx, team.spec, other, draft))

    assert (elsewhere.space_id, elsewhere.text) == ("other", "elsewhere")
    with pytest.raises(Conflict, match=first.event_id):
        team.post(team.spec, "another text", idempotency_key="a")


def test_pages_go_forward_and_back(team: Team) -> None:
    events = [team.post(team.spec, str(number)) for number in range(10)]

    def texts(**cursor: str) -> list[str]:
        return [event.text for event in team.database.read(lambda tx: reading.page(tx, team.room(), 3, **cursor))]

    assert texts() == ["7", "8", "9"]
    assert texts(since=events[1].event_id) == ["2", "3", "4"]
    assert texts(since="8") == ["8", "9"]
    assert texts(before=events[3].event_id) == ["0", "1", "2"]
    assert texts(since=events[1].event_id, before=events[3].event_id) == ["2"]
    with pytest.raises(NotFound):
        texts(since="evt_0")


def test_an_inactive_space_takes_no_message(team: Team) -> None:
    team.database.write(lambda tx: spaces.change(tx, team.room(), {"status": "paused"}))

    with pytest.raises(Conflict, match="Space is not active"):
        team.post(team.spec, "hello")


@pytest.mark.parametrize(
    "more", [{"parent_event_id": "evt_0"}, {"thread_id": "thr_0"}, {"metadata": {"mentions": ["agt_0"]}}]
)
def test_a_message_about_what_does_not_exist_is_refused(team: Team, more: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        team.post(team.spec, "hello", **more)


@pytest.mark.parametrize("mentions", ["agt_1", [1], [[]], {"a": 1}, ["x"] * 201])
def test_malformed_mentions_are_refused(team: Team, mentions: object) -> None:
    with pytest.raises(InvalidRequest, match="mentions"):
        team.post(team.spec, "hello", metadata={"mentions": mentions})


def test_the_largest_message_passes_a_client_that_takes_one_mebibyte(team: Team) -> None:
    references = ["\N{GRINNING FACE}" * 2000] * 50
    largest = 512 * 1024 - len(json.dumps(["", references, None], ensure_ascii=False).encode())

    event = team.post(team.spec, "x" * largest, references=references)

    assert len(event_frame(event).encode()) < 1 << 20
    with pytest.raises(TooLarge):
        team.post(team.spec, "x" * (largest + 1), references=references)


def stranger_of(team: Team) -> Caller:
    return team.database.write(lambda tx: new_person(tx, "Stranger")[1])


def test_a_space_of_another_tenant_does_not_exist(team: Team) -> None:
    stranger = stranger_of(team)

    with pytest.raises(NotFound):
        team.post(stranger, "hello")
    mine = team.database.write(lambda tx: spaces.create(tx, stranger, SPACE))
    assert mine.key != team.room().key


def test_an_actor_of_another_tenant_cannot_be_mentioned(team: Team) -> None:
    stranger = stranger_of(team)

    with pytest.raises(InvalidRequest, match="no participant"):
        team.post(team.spec, "hello", metadata={"mentions": [stranger.actor_id]})


def test_an_event_of_another_space_cannot_be_replied_to(team: Team) -> None:
    event = team.post(team.spec, "hello")
    other = team.database.write(lambda tx: spaces.create(tx, team.person, "other"))

    with pytest.raises(InvalidRequest):
        team.database.write(lambda tx: log.post(tx, team.qa, other, Draft("hi", parent_event_id=event.event_id)))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("quick fox", ["The quick brown fox", "a quick red fox"]),
        ("QUICK brown", ["The quick brown fox"]),
        ("naïve", ["naïve café"]),
        ('fox" OR text:"', []),
        ("NEAR(", []),
        ("* ^ -", []),
        ("slow", []),
    ],
)
def test_a_search_finds_messages_that_have_every_word(team: Team, query: str, found: list[str]) -> None:
    for text in ("a quick red fox", "The quick brown fox", "naïve café", "the fox"):
        team.post(team.spec, text)

    hits = team.database.read(lambda tx: searching.search(tx, query, [team.room()], 10))

    assert [hit.text for hit in hits] == found
