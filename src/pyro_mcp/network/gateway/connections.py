"""The guest's open connections, so that those that new rules do not allow can be ended."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pyro_mcp.network.channel.policy_client import Denied

OpenTarget = tuple[str, int, str, str]
"""The address and port that the guest connected to, the protocol, and the address behind it, "" for none yet."""


@dataclass(eq=False)
class OpenConnection:
    """A connection of the guest, and the one that continues it when that is made."""

    address: str
    port: int
    ends: list[socket.socket] = field(default_factory=list)
    peer: str = ""
    is_cut: bool = False

    @property
    def target(self) -> OpenTarget:
        return self.address, self.port, "tcp", self.peer


class Connections:
    """The open connections; `kept` is false for a gateway whose rules never change."""

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._open: set[OpenConnection] = set()

    @contextmanager
    def keep(self, guest: socket.socket, address: str, port: int) -> Iterator[OpenConnection]:
        """Keep a connection until the block ends."""
        connection = OpenConnection(address, port)
        if not self._kept:
            yield connection
            return
        with self._lock:
            connection.ends.append(_copy(guest))
            self._open.add(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._open.discard(connection)
                for end in connection.ends:
                    end.close()

    def continued(self, connection: OpenConnection, other: socket.socket) -> socket.socket:
        """Note that `other` continues the connection, and return it; raises `Denied` if that has been cut."""
        with self._lock:
            if self._kept and not connection.is_cut:
                connection.ends.append(_copy(other))
                connection.peer = peer_of(other)
        if connection.is_cut:
            other.close()
            raise Denied("the rules have changed")
        return other

    def targets(self) -> list[OpenTarget]:
        """Return what the open connections are to."""
        with self._lock:
            return sorted({connection.target for connection in self._open})

    def cut(self, targets: Collection[OpenTarget]) -> None:
        """End the connections to `targets`, also those that are being made."""
        with self._lock:
            for connection in self._open:
                *unconnected, _ = connection.target
                if connection.target in targets or (*unconnected, "") in targets:
                    connection.is_cut = True
                    for end in connection.ends:
                        with suppress(OSError):  # it has ended already
                            end.shutdown(socket.SHUT_RDWR)


def peer_of(sock: socket.socket) -> str:
    """Return the address that a socket is connected to, "" for none."""
    with suppress(OSError):
        peer = sock.getpeername()
        return str(peer[0]) if isinstance(peer, tuple) else ""
    return ""


def _copy(sock: socket.socket) -> socket.socket:
    """Return another descriptor of a connection: TLS takes the first one away from its socket."""
    return socket.socket(fileno=os.dup(sock.fileno()))
