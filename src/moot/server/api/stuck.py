"""The end of connections whose clients do not read, or never finish a request; each of them costs a descriptor.

uvicorn closes a connection only after it has sent what it has for it, and answers each ping, read or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

_UNREAD_SECONDS = 30.0
"""Longer than `Limits.push_seconds` and the closing handshake, so that a slow client can read its close code."""
_IDLE_SECONDS = 90.0
"""Longer than uvicorn keeps a connection without a request."""
_MOST_UNREAD_PONGS = 4 << 20
"""More than a WebSocket sends before it waits for its client, except in answer to pings."""


@dataclass
class _Mark:
    """The state of a connection at the last check, and the times since which it stands still."""

    unsent: int
    request: Any
    read_at: float
    asked_at: float


class Stuck:
    """The check of uvicorn's connections, repeated again and again, which ends those that are stuck."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[Any, _Mark] = {}

    def end(self, connections: Iterable[Any]) -> int:
        """End the connections that have been stuck for too long; return how many."""
        now = self._clock()
        before, self._marks = self._marks, {}
        ended = 0
        for connection in connections:
            if connection.transport is None:
                continue
            mark = before.get(connection) or _Mark(0, None, now, now)
            self._marks[connection] = mark
            if _is_stuck(connection, mark, now):
                connection.transport.abort()
                ended += 1
        return ended


def _is_stuck(connection: Any, mark: _Mark, now: float) -> bool:
    unsent = connection.transport.get_write_buffer_size()
    if unsent == 0 or unsent < mark.unsent:
        mark.read_at = now
    mark.unsent = unsent
    is_socket = not hasattr(connection, "cycle")
    request: Any = None if is_socket else connection.cycle
    if is_socket or request is not mark.request or not (request is None or request.response_complete):
        mark.asked_at = now
    mark.request = request
    return (
        now - mark.read_at > _UNREAD_SECONDS
        or now - mark.asked_at > _IDLE_SECONDS
        or (is_socket and unsent > _MOST_UNREAD_PONGS)
    )
