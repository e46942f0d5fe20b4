"""The server over the streams of this process."""

from __future__ import annotations

import os
import signal
from typing import Any, cast

import anyio
from mcp.server import Server
from mcp.server.stdio import stdio_server

from pyro_mcp.server.leaving import leave_soon
from pyro_mcp.server.streams import Lines, Writer, claimed

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def over_stdio(server: Server[Any]) -> int:
    """Serve one client over standard input and output until it closes them; commands that run then are killed.

    An exit code: 128+n when signal n ended it.
    """
    nowhere = os.open(os.devnull, os.O_RDONLY)
    with claimed(0, nowhere) as incoming, claimed(1, 2) as outgoing:
        try:
            return anyio.run(_serve, server, incoming, outgoing)
        except* BrokenPipeError:
            pass  # the client is gone, and with it whoever could be told
        finally:
            os.close(nowhere)
    return 0


async def _serve(server: Server[Any], incoming: int, outgoing: int) -> int:
    options = server.create_initialization_options()
    status = 0

    def leave() -> None:
        leave_soon(status or 1)

    async def end_on_signal(scope: anyio.CancelScope) -> None:
        nonlocal status
        with anyio.open_signal_receiver(*_ENDING) as signals:
            async for number in signals:
                status = 128 + number
                leave()
                scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end_on_signal, tasks.cancel_scope)
        # The streams are asked for no more than ours can do.
        lines, writer = cast("Any", Lines(incoming, leave)), cast("Any", Writer(outgoing))
        async with stdio_server(lines, writer) as (read, write):
            await server.run(read, write, options)
        tasks.cancel_scope.cancel()
    return status
