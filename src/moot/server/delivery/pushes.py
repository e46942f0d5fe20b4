"""Collects how far each subscription is, and writes that down a few times in a second."""

from __future__ import annotations

import asyncio

from moot.server.database.database import Database
from moot.server.delivery import receipts
from moot.server.delivery.feeds import Frame, Subscription

_PAUSE_SECONDS = 0.1


class Pushes:
    """The positions that are not in the database yet. What a crash loses of them is only pushed again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._positions: dict[tuple[int, str], int] = {}
        self._again: list[tuple[int, str, int]] = []
        self._new = asyncio.Event()

    def note(self, subscription: Subscription, frame: Frame) -> None:
        """Note that a frame was sent."""
        key = (subscription.room.key, subscription.caller.actor_id)
        if frame.sequence:
            subscription.position = frame.sequence
            self._positions[key] = max(frame.sequence, self._positions.get(key, 0))
            self._new.set()
        elif frame.again:
            self._again.append((*key, frame.again))
            self._new.set()

    async def run(self) -> None:
        """Write down what was noted, until cancelled."""
        while True:
            await self._new.wait()
            await asyncio.sleep(_PAUSE_SECONDS)  # collect more, so that many share one commit
            await self.flush()

    async def flush(self) -> None:
        """Write down what was noted up to now."""
        self._new.clear()
        positions, self._positions = self._positions, {}
        again, self._again = self._again, []
        if positions or again:
            work = self._database.submit(lambda tx: receipts.pushed(tx, positions))
            for one in again:
                self._database.submit(lambda tx, one=one: receipts.record_sent_again(tx, *one))  # type: ignore[misc]
            await asyncio.wrap_future(work)
