"""What bounds a client: the rate of its calls, its connections, and how slowly it may read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from starlette.types import Message, Scope

from moot.server.api.app import create_app
from moot.server.api.metrics import Metrics
from moot.server.api.rates import Rates
from moot.server.api.routes.live import pump
from moot.server.api.state import ServerState
from moot.server.database.transaction import Transaction
from moot.server.delivery import connections, feeds, receipts
from moot.server.delivery.feeds import TOO_SLOW, Closed, Frame, Subscription
from moot.server.events import reading
from moot.server.identity import actors, personal
from moot.server.settings import Limits
from moot.server.spaces import spaces
from pyro_mcp.errors import Conflict, TooManyRequests
from tests.moot.server.conftest import SPACE, Team


def test_a_key_has_a_burst_and_then_a_rate() -> None:
    now = [0.0]
    rates = Rates(2.0, 3, lambda: now[0])

    for _ in range(3):
        rates.take("a")
    with pytest.raises(TooManyRequests):
        rates.take("a")
    rates.take("b")
    now[0] = 0.5
    rates.take("a")
    with pytest.raises(TooManyRequests):
        rates.take("a")


def test_an_actor_has_a_bounded_number_of_connections(team: Team) -> None:
    def opened() -> str:
        key, actor_id = team.room().key, team.spec.actor_id
        return team.database.write(lambda tx: connections.opened(tx, actor_id, key, most=2))

    first, _ = opened(), opened()
    with pytest.raises(TooManyRequests, match="at most 2"):
        opened()
    team.database.write(lambda tx: connections.closed(tx, first))
    opened()


def test_a_subscriber_that_does_not_read_is_dropped_and_can_resume(team: Team) -> None:
    events = [team.post(team.spec, str(number)) for number in range(5)]
    state = ServerState(team.database, replace(Limits(), push_seconds=0.05))
    sent: list[Frame] = []

    async def send(frame: Frame) -> None:
        if len(sent) == 3:
            await asyncio.Event().wait()
        sent.append(frame)

    async def subscribed() -> int:
        state.feeds.start()
        subscription, _ = await asyncio.to_thread(
            team.database.write, lambda tx: feeds.open_subscription(tx, team.keys["qa"], SPACE, "0", most=100)
        )
        state.feeds.subscribe(subscription)
        with pytest.raises(Closed) as closed:
            await asyncio.wait_for(pump(state, subscription, send), 30)
        state.feeds.unsubscribe(subscription)
        assert closed.value is TOO_SLOW
        return subscription.position

    position = asyncio.run(subscribed())

    assert [frame.sequence for frame in sent] == [event.sequence for event in events[:3]]
    assert position == events[2].sequence
    assert state.metrics.dropped == 1


def test_a_subscription_reads_a_long_past_from_the_database_in_pages(team: Team) -> None:
    for number in range(450):
        team.post(team.spec, str(number))
    state = ServerState(team.database)
    seen: list[int] = []

    async def send(frame: Frame) -> None:
        seen.append(frame.sequence)
        if len(seen) == 451:
            raise TOO_SLOW

    async def read() -> None:
        state.feeds.start()
        subscription, _ = await asyncio.to_thread(
            team.database.write, lambda tx: feeds.open_subscription(tx, team.keys["qa"], SPACE, "0", most=100)
        )
        state.feeds.subscribe(subscription)
        await asyncio.to_thread(team.post, team.spec, "while it reads")
        with pytest.raises(Closed):
            await asyncio.wait_for(pump(state, subscription, send), 30)

    asyncio.run(read())

    assert seen == list(range(1, 452))


async def _answer(state: ServerState, body: list[bytes], *, whole: bool = True, **headers: str) -> list[Message]:
    """Post to an application without a server; a body that is not whole is never continued."""
    path = f"/api/spaces/{SPACE}/events"
    parts = list(body)
    sent: list[Message] = []

    async def receive() -> Message:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts) or not whole}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope: Scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": pairs}
    await asyncio.wait_for(create_app(state)({**scope, "scheme": "http", "http_version": "1.1"}, receive, send), 30)
    return sent


def _post(state: ServerState, body: list[bytes], key: str, *, whole: bool = True) -> list[Message]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return asyncio.run(_answer(state, body, whole=whole, **headers))


def test_calls_beyond_the_rate_are_answered_429(team: Team) -> None:
    state = ServerState(team.database, replace(Limits(), requests_per_second=0.001, burst=2))

    statuses = [_post(state, [b'{"text": "x"}'], team.keys["spec"])[0]["status"] for _ in range(3)]
    other = _post(state, [b'{"text": "x"}'], team.keys["qa"])[0]["status"]

    assert statuses == [200, 200, 429] and other == 200


def test_a_body_that_does_not_come_is_answered_408_and_the_connection_ends(team: Team) -> None:
    state = ServerState(team.database, replace(Limits(), body_seconds=0.1))

    [start, body] = _post(state, [b'{"text": '], team.keys["spec"], whole=False)

    assert start["status"] == 408 and (b"connection", b"close") in start["headers"]
    assert b"0.1 s" in body["body"]


def test_a_body_that_comes_in_parts_is_bounded(team: Team) -> None:
    state = ServerState(team.database, replace(Limits(), body_bytes=100))

    fits = _post(state, [b'{"text": "', b"x" * 50, b'"}'], team.keys["spec"])
    does_not = _post(state, [b'{"text": "', b"x" * 50, b"x" * 50, b'"}'], team.keys["spec"])

    assert (fits[0]["status"], does_not[0]["status"]) == (200, 413)


def test_a_list_of_events_is_bounded_in_bytes_and_goes_on(team: Team) -> None:
    text, number = "x" * 60_000, 200
    for _ in range(number):
        team.post(team.spec, text)
    seen = 0
    while found := team.database.read(lambda tx, after=seen: reading.after(tx, team.room(), after, 200)):  # type: ignore[misc]
        assert sum(len(event.text) for event in found) <= 8 << 20
        assert [event.sequence for event in found] == list(range(seen + 1, seen + 1 + len(found)))
        seen += len(found)
    assert seen == number
    last = team.database.read(lambda tx: reading.between(tx, team.room(), None, None, 5000))
    assert 100 < len(last) < number and last[-1].sequence == number


def test_what_is_sent_again_comes_in_parts_and_each_once(team: Team) -> None:
    number = 2 * receipts.MOST_SENT_AGAIN + 3
    for one in range(number):
        team.post(team.spec, f"@QA {one}")
    room = team.room()
    team.database.write(lambda tx: receipts.send_skipped(tx, room, team.qa.actor_id, (0, number)))
    state = ServerState(team.database)
    got: list[int] = []

    async def send(frame: Frame) -> None:
        got.append(frame.again)
        if len(got) == number:
            await asyncio.to_thread(team.post, team.spec, "the last one")
        if frame.sequence:
            raise TOO_SLOW

    async def story() -> None:
        state.feeds.start()
        subscription = Subscription(room, team.qa, team.keys["qa"], number)
        state.feeds.subscribe(subscription)
        with pytest.raises(Closed):
            await asyncio.wait_for(pump(state, subscription, send), 30)

    asyncio.run(story())

    assert got == [*range(1, number + 1), 0]


def test_a_client_waits_until_it_is_within_its_rate() -> None:
    rates = Rates(1000.0, 2)

    async def story() -> float:
        started = asyncio.get_running_loop().time()
        for _ in range(12):
            await rates.wait("a")
        return asyncio.get_running_loop().time() - started

    assert asyncio.run(story()) >= 0.009


def test_a_client_cannot_choose_the_labels_of_metrics() -> None:
    metrics = Metrics()
    for method in ("GET", 'X"} 1\n', "BREW"):
        metrics.request(method, "/health", 200, 0.1)

    assert 'method="other",route="/health",status="200"} 2' in metrics.text({})


@pytest.mark.parametrize(
    ("work", "name", "there"),
    [
        (lambda team, tx: personal.create(tx, team.person.actor_id, "t"), "identity.personal._MOST_TOKENS", 1),
        (lambda team, tx: actors.new_agent(tx, team.person, "a"), "identity.actors.MOST_AGENTS", 2),
        (lambda team, tx: spaces.create(tx, team.person), "spaces.spaces.MOST_SPACES", 1),
    ],
    ids=["tokens", "agents", "spaces"],
)
def test_tokens_agents_and_spaces_are_bounded(
    team: Team, work: Callable[[Team, Transaction], object], name: str, there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"moot.server.{name}", 3)
    made = [team.database.write(lambda tx: work(team, tx)) for _ in range(3 - there)]

    with pytest.raises(Conflict, match="at most 3"):
        team.database.write(lambda tx: work(team, tx))
    assert len(made) == 3 - there
    assert team.database.write(lambda tx: spaces.create(tx, team.person, SPACE)).space_id == SPACE
