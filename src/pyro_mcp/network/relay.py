"""Moving the bytes of one connection, both ways."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 256 * 1024
_RESET = struct.pack("ii", 1, 0)

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
        line.settimeout(None)
        with suppress(OSError):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    broken = threading.Event()
    back = threading.Thread(target=_copy, args=(other, one, broken), daemon=True)
    back.start()
    _copy(one, other, broken, through)
    back.join()
    for line in (one, other):
        if broken.is_set():
            reset(line)
        line.close()


def _copy(source: socket.socket, sink: socket.socket, broken: threading.Event, through: Filter | None = None) -> None:
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        while size := source.recv_into(buffer):
            sink.sendall(through(bytes(view[:size])) if through else view[:size])
        sink.shutdown(socket.SHUT_WR)
    except (OSError, Stopped):
        broken.set()
        for line in (source, sink):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)  # wakes the other direction
