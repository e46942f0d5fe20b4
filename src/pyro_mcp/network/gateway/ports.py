"""Guest ports published on 127.0.0.1 of the host."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress

from pyro_mcp.network.channel.messages import ChannelClosed, Message, close_all, send_message
from pyro_mcp.network.gateway.threads import spawn

_MOST_PORTS = 64
_MOST_WATCHES = 8  # each takes one of the 16 connections to the machine


class Ports:
    """Published ports: accepts their connections, and passes them to the relay process over `channel`."""

    def __init__(self, channel: socket.socket, *, allowed: bool) -> None:
        self._channel = channel
        self._allowed = allowed
        self._lock = threading.Lock()
        self._open: dict[int, tuple[socket.socket, int]] = {}
        self._watches = 0

    def publish(self, listener: socket.socket, guest_port: int) -> Message:
        """Pass connections to `listener`, which is closed with the port, to the guest's port."""
        host, port = listener.getsockname()[:2]
        with self._lock:
            reason = self._refusal(listener, host, guest_port)
            if reason:
                listener.close()
                return {"error": reason}
            self._open[port] = (listener, guest_port)
        if not spawn(self._accept, listener, guest_port):
            return self.unpublish(port) | {"error": "the gateway has too many threads"}
        return {"host_port": port}

    def _refusal(self, listener: socket.socket, host: str, guest_port: int) -> str:
        if not self._allowed:
            return "the network policy does not allow published ports"
        if len(self._open) >= _MOST_PORTS:
            return f"{_MOST_PORTS} ports are published already"
        if host != "127.0.0.1" or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return "ports are published at 127.0.0.1 only"
        return "" if 0 < guest_port < 65536 else f"{guest_port} is not a port"

    def unpublish(self, host_port: object) -> Message:
        """Close a published port, and have the relay process close its connections."""
        with self._lock:
            found = self._open.pop(host_port, None) if isinstance(host_port, int) else None
        if found is None:
            return {"error": f"port {host_port} is not published"}
        found[0].shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        with suppress(ChannelClosed):
            send_message(self._channel, {"unpublished": host_port})
        return {}

    def watch(self, host_ports: list[object], lifetimes: list[int]) -> Message:
        """Close these ports as soon as the first of `lifetimes` is readable; close all of them then."""
        with self._lock:
            watched = {port: entry for port, entry in self._open.items() if port in host_ports}
            if self._watches >= _MOST_WATCHES:
                close_all(lifetimes)
                return {"error": f"{_MOST_WATCHES} services publish ports already"}
            self._watches += 1
        if spawn(self._close_after, watched, lifetimes):
            return {}
        self._watches -= 1
        close_all(lifetimes)
        return {"error": "the gateway has too many threads"}

    def _close_after(self, watched: dict[int, tuple[socket.socket, int]], lifetimes: list[int]) -> None:
        end = select.poll()
        end.register(lifetimes[0], select.POLLIN)  # poll reports a hang-up as well
        end.poll()
        close_all(lifetimes)
        with self._lock:
            self._watches -= 1
            closing = [port for port, entry in watched.items() if self._open.get(port) is entry]
        for port in closing:
            self.unpublish(port)

    def published(self) -> list[tuple[int, int]]:
        """Return the host port and guest port of each published port, in order."""
        with self._lock:
            return sorted((host, guest) for host, (_, guest) in self._open.items())

    def _accept(self, listener: socket.socket, guest_port: int) -> None:
        host_port = listener.getsockname()[1]
        with listener:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    if host_port not in self._open:
                        return
                    time.sleep(0.05)  # the client is gone, or there are no descriptors for the moment
                    continue
                with client, suppress(ChannelClosed):
                    message = {"published": guest_port, "host_port": host_port}
                    send_message(self._channel, message, [client.fileno()])
