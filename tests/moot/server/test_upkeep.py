"""What a server does by itself goes on after a failure of any kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import pytest

from moot.server.api.state import ServerState
from moot.server.api.upkeep import upkeep
from moot.server.database.database import Database
from moot.server.database.transaction import Transaction
from tests.waiting import until

Result = TypeVar("Result")


class _FailsOnce(Database):
    """A database whose first read fails as no error of ours does."""

    reads = 0

    def read(self, work: Callable[[Transaction], Result]) -> Result:
        self.reads += 1
        if self.reads == 1:
            raise ValueError("unforeseen")
        return super().read(work)


def test_upkeep_goes_on_after_an_unforeseen_error(sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
    database = _FailsOnce(sqlite.place)

    async def story() -> None:
        task = asyncio.ensure_future(upkeep(ServerState(database)))
        await asyncio.to_thread(until, "a second read", lambda: database.reads > 1 or task.done())
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(story())
    database.close()

    assert "unforeseen" in caplog.text
