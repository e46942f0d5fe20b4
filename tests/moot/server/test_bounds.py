"""What bounds a client: the rate of its calls, its connections, and how slowly it may read."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from moot.server.api.rates import Rates
from moot.server.api.routes.live import pump
from moot.server.api.state import ServerState
from moot.server.delivery import connections, feeds
from moot.server.delivery.feeds import TOO_SLOW, Closed, Frame
from moot.server.settings import Limits
from pyro_mcp.errors import TooManyRequests
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
