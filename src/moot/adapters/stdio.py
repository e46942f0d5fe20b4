"""An MCP server over the standard streams of this process, until they are closed or a signal ends it.

A thread may be in a call that takes longer than a host waits for its servers. So the process ends by itself soon after
the streams, whatever its threads do: what was in the middle comes again from the server.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
from mcp.server.stdio import stdio_server

from pyro_mcp.mcp_transport.exit import leave_soon
from pyro_mcp.mcp_transport.streams import Lines, Writer, claimed

LEAVE_SECONDS = 0.5
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Serve = Callable[[Any, Any], Awaitable[None]]
"""A server, given a stream of messages to read and one to write."""


def serve_stdio(serve: Serve) -> int:
    """Serve one client; return the exit code, 128+n when signal n ended it."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    with claimed(0, nowhere) as incoming, claimed(1, 2) as outgoing:
        try:
            return anyio.run(_serve, serve, incoming, outgoing)
        except* BrokenPipeError:
            pass  # the client is gone
        finally:
            os.close(nowhere)
    return 0


async def _serve(serve: Serve, incoming: int, outgoing: int) -> int:
    status = 0

    def leave() -> None:
        leave_soon(status, seconds=LEAVE_SECONDS)

    async def end_on_signal(scope: anyio.CancelScope) -> None:
        nonlocal status
        with anyio.open_signal_receiver(*_ENDING) as signals:
            async for number in signals:
                status = 128 + number
                leave()
                scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end_on_signal, tasks.cancel_scope)
        async with _streams(Lines(incoming, leave), Writer(outgoing)) as (read, write):
            await serve(read, write)
        tasks.cancel_scope.cancel()
    return status


@asynccontextmanager
async def _streams(lines: Lines, writer: Writer) -> AsyncIterator[tuple[Any, Any]]:
    async with stdio_server(cast("Any", lines), cast("Any", writer)) as streams:
        yield streams
