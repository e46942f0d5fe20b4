"""Copying between two connected sockets."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 128 * 1024
_RESET = struct.pack("ii", 1, 0)
_ALWAYS_REPORTED = select.POLLERR | select.POLLHUP

Filter = Callable[[bytes], bytes]


class Stopped(Exception):
    """Raised by a filter that passes no more bytes."""


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that the peer sees a reset, not an end of stream."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


def relay(one: socket.socket, other: socket.socket, filter_: Filter | None = None) -> None:
    """Copy between two connected stream sockets until both directions have ended, then close both.

    A reset of one becomes a reset of the other. `filter_` maps what `one` sends to what `other` receives.
    """
    for sock in (one, other):
        sock.setblocking(False)
        if sock.family == socket.AF_UNIX:  # the supervisor's
            continue
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    directions = (_Direction(one, other, filter_), _Direction(other, one))
    try:
        while not all(direction.done for direction in directions):
            ready = _wait(directions)
            for direction in directions:
                direction.advance(ready)
    except (OSError, Stopped):
        reset(one)
        reset(other)
    one.close()
    other.close()


class _Direction:
    """One direction: received bytes are sent before more are read."""

    def __init__(self, source: socket.socket, sink: socket.socket, filter_: Filter | None = None) -> None:
        self._source, self._sink, self._filter = source, sink, filter_
        self._buffer = bytearray(_CHUNK)
        self._left = memoryview(b"")
        self.done = False

    @property
    def interest(self) -> tuple[int, int]:
        """The descriptor and event that it waits for."""
        if self._left:
            return self._sink.fileno(), select.POLLOUT
        return self._source.fileno(), select.POLLIN

    def advance(self, ready: dict[int, int]) -> None:
        """Copy what is possible, if the event that it waits for has come."""
        descriptor, event = self.interest
        if self.done or not ready.get(descriptor, 0) & (event | _ALWAYS_REPORTED):
            return
        if not self._left and not self._read():
            self._sink.shutdown(socket.SHUT_WR)
            self.done = True
        with suppress(BlockingIOError):
            while self._left:
                self._left = self._left[self._sink.send(self._left) :]

    def _read(self) -> bool:
        """Read; return False at the end of the stream."""
        try:
            size = self._source.recv_into(self._buffer)
        except BlockingIOError:
            return True
        if size:
            data = memoryview(self._buffer)[:size]
            self._left = memoryview(self._filter(bytes(data))) if self._filter else data
        return size > 0


def _wait(directions: tuple[_Direction, _Direction]) -> dict[int, int]:
    """Wait, and return the events by descriptor."""
    wanted: dict[int, int] = {}
    for direction in directions:
        if not direction.done:
            descriptor, event = direction.interest
            wanted[descriptor] = wanted.get(descriptor, 0) | event
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    return dict(poll.poll())
