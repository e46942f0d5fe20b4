"""The mailbox of a role: claims, offers, and what counts as seen."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moot.agents.state import IDLE, read_state
from moot.hooks.events import answer
from moot.mailbox.mailbox import ACCEPT_SECONDS, UNKNOWN_SECONDS, Mailbox, Place, Unread
from moot.mailbox.message_block import Message, Relevance, blocks


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mailbox(tmp_path: Path, clock: Clock) -> Iterator[Mailbox]:
    made = Mailbox(tmp_path / "run/spec/mailbox.db", now=clock)
    yield made
    made.close()


def message(number: int, relevance: Relevance = "mention", text: str = "look") -> Message:
    return Message(
        f"evt_{number}",
        "spc_1",
        number,
        relevance,
        "agt_1",
        "QA",
        "agent",
        text,
    )


def test_a_message_is_kept_once(mailbox: Mailbox) -> None:
    assert mailbox.add(message(1))
    assert not mailbox.add(message(1))
    assert mailbox.unread() == Unread(mentions=1, others=0)


def test_what_one_road_has_claimed_no_other_road_offers(mailbox: Mailbox) -> None:
    mailbox.add(message(1))
    offer = mailbox.claim("channel")
    assert offer is not None and [one.event_id for one in offer.messages] == ["evt_1"]
    assert mailbox.claim("hook") is None
    assert mailbox.claim("tmux") is None


def test_threads_that_claim_at_once_get_each_message_once(tmp_path: Path) -> None:
    path = tmp_path / "mailbox.db"
    with_all = Mailbox(path)
    for number in range(40):
        with_all.add(message(number))
    got: list[str] = []

    def claim() -> None:
        mine = Mailbox(path)
        while (offer := mine.claim("hook", most_messages=1)) is not None:
            got.extend(one.event_id for one in offer.messages)
        mine.close()

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert sorted(got) == sorted(f"evt_{number}" for number in range(40))
    with_all.close()


def test_urgent_messages_come_first_and_a_claim_has_a_bounded_size(mailbox: Mailbox, clock: Clock) -> None:
    mailbox.add(message(1, "thread_reply"))
    for number in range(2, 12):
        clock.now += 1
        mailbox.add(message(number, text="x" * 60_000))
    offer = mailbox.claim("hook", urgent_only=True, most_characters=8000)
    assert offer is not None
    assert [one.event_id for one in offer.messages] == ["evt_2", "evt_3"]
    assert len(blocks(offer.messages, offer.token)) < 8000
    rest = mailbox.claim("hook", most_messages=50, most_characters=10**6)
    assert rest is not None and rest.messages[-1].event_id == "evt_1"


def test_a_message_is_seen_when_its_token_is_in_the_conversation(mailbox: Mailbox) -> None:
    mailbox.add(message(1))
    offer = mailbox.claim("tmux")
    assert offer is not None and not mailbox.accepted(offer)
    assert mailbox.seen_in("another text with evt_1 and ofr_" + "0" * 24) == 0
    assert mailbox.seen_in(f"prompt: {blocks(offer.messages, offer.token)}") == 1
    assert mailbox.accepted(offer)
    assert mailbox.to_acknowledge() == {"spc_1": ["evt_1"]}
    mailbox.acknowledged(["evt_1"])
    assert mailbox.to_acknowledge() == {}
    assert mailbox.claim("tmux") is None


def test_an_idle_agent_that_does_not_accept_gets_the_message_by_the_next_road(mailbox: Mailbox, clock: Clock) -> None:
    mailbox.begin_session("s1")
    mailbox.add(message(1))
    first = mailbox.claim("channel")
    assert first is not None
    clock.now += ACCEPT_SECONDS["channel"] + 1
    assert mailbox.claim("tmux", idle_since=None) is None, "a busy agent may have it in its queue"
    assert mailbox.claim("tmux", idle_since=clock.now - 1) is None, "the turn has just ended"
    second = mailbox.claim("tmux", idle_since=1000.0)
    assert second is not None
    mailbox.add(message(2))
    assert mailbox.claim("channel") is None, "the channel does not work in this session"
    mailbox.begin_session("s2")
    assert mailbox.claim("channel") is None, "it failed a moment ago"
    clock.now += 3601
    mailbox.begin_session("s3")
    assert mailbox.claim("channel") is not None


def test_a_void_offer_that_arrives_after_all_counts(mailbox: Mailbox, clock: Clock) -> None:
    mailbox.begin_session("s1")
    mailbox.add(message(1))
    first = mailbox.claim("channel")
    clock.now += ACCEPT_SECONDS["channel"] + 1
    second = mailbox.claim("tmux", idle_since=1000.0)
    assert first is not None and second is not None
    mailbox.withdraw(second)
    assert mailbox.seen_in(first.token) == 1
    assert mailbox.claim("tmux") is None


def test_what_a_session_has_not_read_is_offered_to_the_next_one(mailbox: Mailbox, tmp_path: Path) -> None:
    transcript = tmp_path / "old.jsonl"
    mailbox.begin_session("s1", transcript)
    for number in (1, 2, 3):
        mailbox.add(message(number))
    offers = [mailbox.claim("hook", most_messages=1) for _ in range(3)]
    tokens = [one.token for one in offers if one is not None]
    lines = [
        {"type": "attachment", "attachment": {"type": "hook_additional_context", "content": [tokens[0]]}},
        {"type": "queue-operation", "operation": "enqueue", "content": tokens[1]},
    ]
    transcript.write_text("".join(f"{json.dumps(one)}\n" for one in lines) + f'{{"half a line": "{tokens[2]}')

    mailbox.begin_session("s2")
    offer = mailbox.claim("hook")
    assert offer is not None and [one.event_id for one in offer.messages] == ["evt_2", "evt_3"]


def test_a_transcript_is_read_on_from_where_it_was_read(mailbox: Mailbox, tmp_path: Path) -> None:
    transcript = tmp_path / "t.jsonl"
    assert mailbox.read_transcript(transcript) == 0
    for number in range(3):
        mailbox.add(message(number))
        offer = mailbox.claim("hook")
        assert offer is not None
        with transcript.open("a") as file:
            file.write(json.dumps({"type": "user", "message": offer.token}) + "\n")
        assert mailbox.read_transcript(transcript) == 1
        assert mailbox.read_transcript(transcript) == 0


def test_without_hooks_an_offer_is_void_after_a_long_time(mailbox: Mailbox, clock: Clock) -> None:
    mailbox.add(message(1))
    assert mailbox.claim("tmux") is not None
    clock.now += UNKNOWN_SECONDS - 1
    assert mailbox.claim("channel") is None
    clock.now += 2
    assert mailbox.claim("channel") is not None


def test_what_a_tool_has_returned_is_not_offered(mailbox: Mailbox) -> None:
    mailbox.add(message(1))
    mailbox.add(message(2))
    assert mailbox.seen(["evt_1", "evt_9"]) == 1
    assert mailbox.unread() == Unread(mentions=1, others=0)


def test_another_road_waits_while_the_channel_may_work(mailbox: Mailbox) -> None:
    mailbox.add(message(1))
    assert mailbox.claim("tmux", least_age=2.0) is None
    mailbox.road_failed("channel")
    assert mailbox.claim("tmux", least_age=2.0) is not None


def test_places_only_grow_until_the_log_is_another(mailbox: Mailbox) -> None:
    assert mailbox.place("spc_1") is None
    for number in (7, 5):
        mailbox.reached("spc_1", Place(number, f"evt_{number}"))
    assert mailbox.place("spc_1") == Place(7, "evt_7")
    mailbox.start_over("spc_1", Place(3))
    assert mailbox.place("spc_1") == Place(3)


def test_nothing_waits_for_the_clock_to_reach_its_old_time(mailbox: Mailbox, clock: Clock) -> None:
    mailbox.add(message(1))
    assert mailbox.claim("tmux", idle_since=clock.now) is not None
    mailbox.road_failed("hook")
    mailbox.add(message(2))
    clock.now -= 900
    assert mailbox.claim("tmux", idle_since=clock.now + 900, least_age=2.0) is None, "the new one is of now"
    clock.now += ACCEPT_SECONDS["tmux"] + 1
    assert mailbox.claim("tmux", idle_since=clock.now - 60) is None, "the road has not delivered in time"
    clock.now += ACCEPT_SECONDS["hook"]
    offer = mailbox.claim("hook")
    assert offer is not None and {one.event_id for one in offer.messages} == {"evt_1", "evt_2"}


def test_nobody_else_reads_a_mailbox_and_a_broken_one_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "spec/mailbox.db"
    Mailbox(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.write_bytes(b"this is no database" * 100)
    made = Mailbox(path)
    assert made.add(message(1))
    made.close()


def test_a_mailbox_that_cannot_be_opened_now_is_kept_and_the_hook_reports_the_state_all_the_same(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "spec"
    made = Mailbox(folder / "mailbox.db")
    made.add(message(1))
    made.close()
    hindrance = folder / "mailbox.db-wal"
    hindrance.mkdir()
    with pytest.raises(sqlite3.OperationalError):
        answer("Stop", str(folder), {"session_id": "s"})
    state = read_state(folder)
    assert state is not None and state.word == IDLE
    hindrance.rmdir()
    made = Mailbox(folder / "mailbox.db")
    assert made.unread() == Unread(mentions=1, others=0)
    made.close()


def test_an_accepted_offer_is_seen_when_the_transcript_shows_it_or_the_session_goes_on(
    mailbox: Mailbox, clock: Clock, tmp_path: Path
) -> None:
    transcript = tmp_path / "t.jsonl"
    mailbox.begin_session("s1", transcript)
    mailbox.add(message(1))
    offer = mailbox.claim("tmux")
    assert offer is not None
    assert mailbox.seen_in(offer.token) == 1
    assert mailbox.accepted(offer) and mailbox.to_acknowledge() == {}
    clock.now += UNKNOWN_SECONDS
    assert mailbox.claim("tmux", idle_since=1000.0) is None
    mailbox.read_transcript(transcript)
    assert mailbox.to_acknowledge() == {"spc_1": ["evt_1"]}


def test_a_prompt_that_its_harness_did_not_survive_is_offered_again(mailbox: Mailbox, tmp_path: Path) -> None:
    mailbox.begin_session("s1", tmp_path / "s1.jsonl")
    mailbox.add(message(1))
    offer = mailbox.claim("tmux")
    assert offer is not None
    mailbox.seen_in(offer.token)
    mailbox.begin_session("s2", tmp_path / "s2.jsonl")
    assert mailbox.claim("hook") is not None


def test_what_a_tool_returned_before_the_subscription_brings_it_is_not_offered(mailbox: Mailbox) -> None:
    mailbox.seen(["evt_1"])
    mailbox.add(message(1))
    assert mailbox.claim("hook") is None
    assert mailbox.to_acknowledge() == {"spc_1": ["evt_1"]}


def test_a_claim_reads_the_transcript_first(mailbox: Mailbox, clock: Clock, tmp_path: Path) -> None:
    transcript = tmp_path / "t.jsonl"
    mailbox.read_transcript(transcript)  # a hook of a session that began before the mailbox was made
    mailbox.add(message(1))
    offer = mailbox.claim("hook")
    assert offer is not None
    transcript.write_text(json.dumps({"type": "attachment", "content": offer.token}) + "\n")
    clock.now += 2 * ACCEPT_SECONDS["hook"]
    assert mailbox.claim("tmux", idle_since=1000.0) is None
    assert mailbox.to_acknowledge() == {"spc_1": ["evt_1"]}


def test_a_compacted_conversation_is_the_same_session(mailbox: Mailbox) -> None:
    mailbox.begin_session("s1")
    mailbox.road_failed("channel")
    mailbox.begin_session("s1")
    mailbox.add(message(1))
    assert mailbox.claim("channel") is None
