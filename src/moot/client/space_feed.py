"""The live log of a space over a WebSocket, from a position on.

    async with open_feed(address, space_id, since=12) as feed:
        async for frame in feed: ...

Frames and close codes: docs/space.md. Whoever lost a connection opens the next one with the position that it has.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from moot.client.errors import NotAuthenticated, ServerFailed, problem, unreachable
from moot.client.server_address import ServerAddress

_OPEN_SECONDS = 10.0
_LARGEST_FRAME = 4 * 1024 * 1024
_REVOKED = 4401
_log = logging.getLogger("convo.feed")


class Disconnected(ServerFailed):
    """A connection that has ended; the next one continues at the position of the last event."""

    code = "disconnected"


class Feed:
    """The frames of one connection, as an asynchronous iterator. Ends with `PyroError`, never silently."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next frame. Raises `Disconnected`, and `NotAuthenticated` when the key was revoked."""
        while True:
            try:
                text = await self._socket.recv()
            except ConnectionClosed as error:
                raise _ended(error) from error
            try:
                frame = json.loads(text)
            except (ValueError, RecursionError):
                _log.warning("a frame of the server is not JSON")
                continue
            if isinstance(frame, dict):
                return frame

    async def heartbeat(self) -> None:
        """Tell the server that this client is alive. Raises `Disconnected`."""
        try:
            await self._socket.send('{"type": "heartbeat"}')
        except ConnectionClosed as error:
            raise _ended(error) from error


@asynccontextmanager
async def open_feed(address: ServerAddress, space_id: str, since: int | None) -> AsyncIterator[Feed]:
    """Yield the events of a space after `since`. Raises `PyroError` when the server is away or refuses."""
    more: dict[str, Any] = {"ssl": address.tls} if address.tls else {}
    opening = connect(
        address.live_url(space_id, since),
        additional_headers=address.headers(),
        open_timeout=_OPEN_SECONDS,
        close_timeout=0.2,
        max_size=_LARGEST_FRAME,
        proxy=None if address.is_loopback else True,
        **more,
    )
    try:
        socket = await opening
    except InvalidStatus as error:
        raise problem(
            error.response.status_code, bytes(error.response.body or b""), f"live log of {space_id}"
        ) from error
    except (OSError, TimeoutError, WebSocketException) as error:
        raise unreachable(address.base_url, error or type(error).__name__) from error
    try:
        yield Feed(socket)
    finally:
        await socket.close()


def _ended(error: ConnectionClosed) -> Disconnected | NotAuthenticated:
    frame = error.rcvd
    if frame is not None and frame.code == _REVOKED:
        return NotAuthenticated("the key is not valid any more", hint="get a new one: moot init --force")
    return Disconnected(f"the connection ended: {frame.reason or frame.code if frame else 'without a reason'}")
