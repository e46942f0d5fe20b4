"""Moving the bytes of one connection, both ways."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 128 * 1024
_RESET = struct.pack("ii", 1, 0)
_TOLD_UNASKED = select.POLLERR | select.POLLHUP

Filter = Callable[[bytes], bytes]


class Stopped(Exception):
    """Raised by a filter that passes nothing on any more."""


def reset(line: socket.socket) -> None:
    """Close a TCP socket so that the other side sees a reset, not an end."""
    with suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    line.close()


def relay(one: socket.socket, other: socket.socket, through: Filter | None = None) -> None:
    """Copy between two connected sockets until both directions have ended, each in its time; closes both.

    A reset of one becomes a reset of the other. `through` gets what `one` sends and gives what the other receives.
    """
    for line in (one, other):
        line.setblocking(False)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ways = (_Way(one, other, through), _Way(other, one))
    try:
        while not all(way.done for way in ways):
            ready = _wait(ways)
            for way in ways:
                way.go_on(ready)
    except (OSError, Stopped):
        reset(one)
        reset(other)
    one.close()
    other.close()


class _Way:
    """One direction: what came is sent before more is read."""

    def __init__(self, source: socket.socket, sink: socket.socket, through: Filter | None = None) -> None:
        self._source, self._sink, self._through = source, sink, through
        self._buffer = bytearray(_CHUNK)
        self._left = memoryview(b"")
        self.done = False

    @property
    def interest(self) -> tuple[int, int]:
        """Which descriptor it waits for, and for what."""
        if self._left:
            return self._sink.fileno(), select.POLLOUT
        return self._source.fileno(), select.POLLIN

    def go_on(self, ready: dict[int, int]) -> None:
        """Move what can be moved, if what it waits for has come."""
        descriptor, event = self.interest
        if self.done or not ready.get(descriptor, 0) & (event | _TOLD_UNASKED):
            return
        if not self._left and not self._read():
            self._sink.shutdown(socket.SHUT_WR)
            self.done = True
        with suppress(BlockingIOError):
            while self._left:
                self._left = self._left[self._sink.send(self._left) :]

    def _read(self) -> bool:
        """Whether there is or may be more to come."""
        try:
            size = self._source.recv_into(self._buffer)
        except BlockingIOError:
            return True
        if size:
            data = memoryview(self._buffer)[:size]
            self._left = memoryview(self._through(bytes(data))) if self._through else data
        return size > 0


def _wait(ways: tuple[_Way, _Way]) -> dict[int, int]:
    """The events that came, by descriptor."""
    wanted: dict[int, int] = {}
    for way in ways:
        if not way.done:
            descriptor, event = way.interest
            wanted[descriptor] = wanted.get(descriptor, 0) | event
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    return dict(poll.poll())
