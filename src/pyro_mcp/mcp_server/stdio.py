"""The server over the streams of this process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread

from pyro_mcp.mcp_server.catalogue import Catalogue
from pyro_mcp.mcp_server.greeting import Greeting
from pyro_mcp.mcp_transport.exit import leave_soon
from pyro_mcp.mcp_transport.streams import Lines, Writer, claimed

if TYPE_CHECKING:
    from mcp.server import Server

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def over_stdio(catalogue: Catalogue, build: Callable[[], Server[Any]]) -> int:
    """Serve one client over standard input and output until it closes them; commands that run then are killed.

    The client's first questions are answered from `catalogue`, while `build` makes the server for all others. Returns
    an exit code: 128+n when signal n ended it.
    """
    nowhere = os.open(os.devnull, os.O_RDONLY)
    with claimed(0, nowhere) as incoming, claimed(1, 2) as outgoing:
        try:
            return anyio.run(_serve, catalogue, build, incoming, outgoing)
        except* BrokenPipeError:
            pass  # the client is gone, and with it whoever could be told
        finally:
            os.close(nowhere)
    return 0


async def _serve(catalogue: Catalogue, build: Callable[[], Server[Any]], incoming: int, outgoing: int) -> int:
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
        await _converse(catalogue, build, Lines(incoming, leave), Writer(outgoing))
        tasks.cancel_scope.cancel()
    return status


async def _converse(catalogue: Catalogue, build: Callable[[], Server[Any]], lines: Lines, writer: Writer) -> None:
    greeting, made = Greeting(catalogue), list[Any]()

    async def make() -> None:
        made.append(await anyio.to_thread.run_sync(_server_and_streams, build))

    async with anyio.create_task_group() as tasks:
        importing = False
        async for line in lines:
            answer = greeting.answer(line)
            if answer is None:
                break
            await writer.write(answer)
            if greeting.listed and not importing:  # not earlier: the two would only slow each other down
                importing = True
                tasks.start_soon(make)
        if not importing:
            tasks.start_soon(make)
    server, stdio_server = made[0]
    # The streams are asked for no more than ours can do.
    reader, once = cast("Any", _replayed(greeting.held, lines)), cast("Any", _Once(writer, greeting.answered))
    async with stdio_server(reader, once) as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _server_and_streams(build: Callable[[], Server[Any]]) -> tuple[Server[Any], Any]:
    from mcp.server.stdio import stdio_server  # noqa: PLC0415 - the library is slow to import

    return build(), stdio_server


async def _replayed(held: Sequence[str], lines: Lines) -> AsyncIterator[str]:
    """Yield the messages read before, then those that follow."""
    for line in held:
        yield line
    async for line in lines:
        yield line


class _Once:
    """A writer that leaves out the answer to one request, which was answered before."""

    def __init__(self, writer: Writer, answered: object) -> None:
        self._writer = writer
        self._answered = answered

    async def write(self, text: str) -> None:
        if self._answered is not None and json.loads(text).get("id") == self._answered:
            self._answered = None
        else:
            await self._writer.write(text)

    async def flush(self) -> None:
        """Do nothing: everything is written already."""
