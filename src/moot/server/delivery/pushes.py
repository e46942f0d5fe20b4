"""The positions of subscriptions, collected and stored a few times a second."""

from __future__ import annotations

import asyncio
import logging

from moot.server.database.database import Database
from moot.server.database.transaction import Transaction
from moot.server.delivery import receipts
from moot.server.delivery.feeds import Frame, Subscription

_log = logging.getLogger("moot.server")
_PAUSE_SECONDS = 0.1
_RETRY_SECONDS = 1.0


class Pushes:
    """The parts of logs that were sent and are not in the database yet. A crash only repeats pushes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._spans: dict[tuple[int, str], list[receipts.Span]] = {}
        self._again: list[tuple[int, str, int]] = []
        self._new = asyncio.Event()

    def note(self, subscription: Subscription, frame: Frame) -> None:
        """Note that a frame was sent."""
        key = (subscription.room.key, subscription.caller.actor_id)
        if frame.sequence:
            self._add(key, (subscription.position, frame.sequence))
            subscription.position = frame.sequence
            self._new.set()
        elif frame.again:
            self._again.append((*key, frame.again))
            self._new.set()

    async def run(self) -> None:
        """Store what was noted, until cancelled; log a failure and try again."""
        while True:
            await self._new.wait()
            await asyncio.sleep(_PAUSE_SECONDS)  # collect more, so that many share one commit
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - without this task, every message would stay queued
                _log.error("what was sent cannot be recorded, and is tried again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def flush(self) -> None:
        """Store what was noted until now; if that fails, keep it for the next time."""
        self._new.clear()
        spans, self._spans = self._spans, {}
        again, self._again = self._again, []
        if not spans and not again:
            return

        def record(tx: Transaction) -> None:
            receipts.pushed(tx, spans)
            for one in again:
                receipts.record_sent_again(tx, *one)

        try:
            await asyncio.wrap_future(self._database.submit(record))
        except BaseException:  # also when the task is cancelled: the server's last flush writes it
            for key, span in [(key, span) for key, sent in spans.items() for span in sent]:
                self._add(key, span)
            self._again = again + self._again
            self._new.set()
            raise

    def _add(self, key: tuple[int, str], span: receipts.Span) -> None:
        spans = self._spans.setdefault(key, [])
        if spans and spans[-1][0] <= span[1] and span[0] <= spans[-1][1]:  # they touch
            last = spans.pop()
            span = (min(last[0], span[0]), max(last[1], span[1]))
        spans.append(span)
