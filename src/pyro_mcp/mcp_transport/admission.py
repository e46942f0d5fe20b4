"""Connections that have not yet shown the token: few at a time, and not for long."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 5.0
"""For a connection to send the head of a request with the token."""
MOST_WAITING = 64
"""Connections without a token that are open at once; one more ends the oldest of them."""

Peer: TypeAlias = "tuple[str, int]"


class WaitingRoom:
    """The connections that nobody has vouched for, oldest first.

    All peers are on loopback and look alike, so they share one room. A rightful client sends its whole request at once
    and leaves the room within milliseconds, however many others are in it.
    """

    def __init__(self) -> None:
        self._waiting: dict[Peer, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}

    def enter(self, peer: Peer, transport: asyncio.Transport) -> None:
        """Let a new connection wait until `leave`; it is ended when its time is over or the room is full."""
        if len(self._waiting) >= MOST_WAITING:
            self._end(next(iter(self._waiting)))
        timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._end, peer)
        self._waiting[peer] = (transport, timer)

    def leave(self, peer: Peer | None) -> None:
        """Remove a connection that has sent the token, or has ended."""
        if peer is not None and (found := self._waiting.pop(peer, None)) is not None:
            found[1].cancel()

    def _end(self, peer: Peer) -> None:
        transport, timer = self._waiting.pop(peer)
        timer.cancel()
        transport.abort()


def protocol_with(room: WaitingRoom) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol with connections that start in the waiting room `room`."""

    class Admitted(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if self.client is not None:
                room.enter(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            room.leave(self.client)

    return Admitted
