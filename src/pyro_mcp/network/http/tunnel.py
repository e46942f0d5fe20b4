"""Copying between a guest and a site after they have changed to another protocol (a WebSocket)."""

from __future__ import annotations

import select
import time

from pyro_mcp.network.http.plain_socket import PlainSocket
from pyro_mcp.redaction import MaskStream

_LAST_SECONDS = 30.0


def tunnel(guest: PlainSocket, server: PlainSocket, mask: MaskStream) -> None:
    """Copy until one side ends; what the server sends is masked. Raises `OSError` when a connection breaks.

    A silent connection lasts for as long as both hosts answer TCP's probes.
    """
    sides = (guest, server)
    for side in sides:
        side.probe_when_idle()
    while not (guest.ended or server.ended):
        poll = select.poll()
        for side, other in (sides, sides[::-1]):
            poll.register(side, side.interest(reads=not other.full))
        for descriptor, events in poll.poll():
            side, other = sides if descriptor == guest.fileno() else sides[::-1]
            if events & select.POLLOUT:
                side.flush()
            if events & ~select.POLLOUT and not other.full:
                data = side.read()
                other.write(mask.feed(data) if side is server else data)
            elif events & (select.POLLHUP | select.POLLERR):
                return  # nobody takes what the other side still has
    guest.write(mask.finish())
    for side in sides:
        drain(side, _LAST_SECONDS)


def drain(side: PlainSocket, seconds: float) -> None:
    """Send all unsent data within so many seconds; raises `OSError` when the connection breaks."""
    end = time.monotonic() + seconds
    while not side.drained and time.monotonic() < end:
        poll = select.poll()
        poll.register(side, select.POLLOUT)
        poll.poll(max(0.0, end - time.monotonic()) * 1000)
        side.flush()
