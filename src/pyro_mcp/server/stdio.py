"""The server over the streams of this process."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any, cast

import anyio
from mcp.server import Server
from mcp.server.stdio import stdio_server

from pyro_mcp.server.streams import Lines, Writer, claimed

_SECONDS_TO_LEAVE = 15.0
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
        # What cannot be interrupted is left as a crash would leave it, and repaired by whoever comes next.
        last = threading.Timer(_SECONDS_TO_LEAVE, os._exit, [status or 1])
        last.daemon = True
        last.start()

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
