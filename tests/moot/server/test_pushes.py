"""What was sent is recorded, also after the database has failed."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import text

from moot.server.database.database import Database
from moot.server.delivery import receipts
from moot.server.delivery.feeds import Frame, Subscription
from moot.server.delivery.pushes import Pushes
from moot.server.results import Event
from tests.moot.server.conftest import Team, team_in
from tests.waiting import until


def state_of(team: Team, event: Event) -> str:
    """Return the state of the only delivery of a message."""
    (delivery,) = team.database.read(lambda tx: receipts.of_event(tx, team.room(), event.event_id))
    return delivery.state


def note(pushes: Pushes, team: Team, event: Event) -> None:
    """Note that QA got an event."""
    subscription = Subscription(team.room(), team.qa, team.keys["qa"], event.sequence - 1)
    pushes.note(subscription, Frame("", event.sequence))


def test_what_was_sent_is_recorded_after_a_write_has_failed(sqlite: Database, tmp_path: Path) -> None:
    team = team_in(sqlite)
    sqlite.write(lambda tx: tx.execute(text("PRAGMA busy_timeout=1")))
    first, second = (team.post(team.spec, f"@QA {number}") for number in range(2))
    pushes = Pushes(sqlite)

    async def story() -> None:
        with closing(sqlite3.connect(tmp_path / "space.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            note(pushes, team, first)
            running = asyncio.ensure_future(pushes.run())
            await asyncio.sleep(0.5)
            other.execute("ROLLBACK")
        note(pushes, team, second)
        await asyncio.to_thread(until, "the second is recorded", lambda: state_of(team, second) == "pushed")
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(story())

    assert state_of(team, first) == "pushed"


def test_what_a_cancelled_task_had_taken_is_written_by_the_last_flush(sqlite: Database) -> None:
    team = team_in(sqlite)
    event = team.post(team.spec, "@QA")
    pushes = Pushes(sqlite)

    async def story() -> None:
        note(pushes, team, event)
        task = asyncio.ensure_future(pushes.flush())
        sqlite.submit(lambda _tx: asyncio.run(asyncio.sleep(0.2)))  # the writer is busy: the flush waits in its queue
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await pushes.flush()

    asyncio.run(story())

    assert state_of(team, event) == "pushed"
