"""The inner half of a gateway: alone with the machine in a network namespace, it relays what the outer half allows."""

from __future__ import annotations

import importlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyro_mcp.network.addressing.addresses import GUEST_ADDRESS
from pyro_mcp.network.channel.broker import Broker, Denied
from pyro_mcp.network.channel.messages import ChannelClosed, close_all, receive_message
from pyro_mcp.network.gateway.datagrams import DNS_PORT, Datagrams
from pyro_mcp.network.gateway.packets import Packets
from pyro_mcp.network.gateway.resolver import Resolver
from pyro_mcp.network.gateway.threads import spawn, spawn_or_exit
from pyro_mcp.network.http import client_hello
from pyro_mcp.network.http.relay import Filter, Stopped, relay, reset

_TRANSPARENT = 19  # linux/in.h: IP_TRANSPARENT
_MOST_CONNECTIONS = 512
_GREETING_SECONDS = 15.0
_GUEST_SECONDS = 5.0
INSPECTED_PORTS = frozenset({80, 443})

TLSHandler = Callable[[socket.socket, str, int, Callable[[], socket.socket]], None]
"""Serves a machine's TLS connection to a name and port, over what the last argument dials; closes the first."""


@dataclass(frozen=True)
class RelaySockets:
    """What must be opened before rights are given up: for all TCP, for all UDP, and for packets of our own making."""

    tcp: socket.socket
    udp: socket.socket
    raw: socket.socket


def open_sockets() -> RelaySockets:
    """Open them in this namespace; raises `OSError`."""
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    for line in (tcp, udp):
        line.setsockopt(socket.IPPROTO_IP, _TRANSPARENT, 1)
        line.bind(("0.0.0.0", 0))  # noqa: S104 - the namespace has no other interface than the machine's
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    tcp.listen(256)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    return RelaySockets(tcp, udp, raw)


class Inner:
    """Relays between the machine and what `channel`'s other side connects to.

    With `inspecting`, connections to web ports are looked at first. `swap` serves those that must end here.
    """

    def __init__(
        self, sockets: RelaySockets, channel: socket.socket, *, inspecting: bool, swap: TLSHandler | None = None
    ) -> None:
        self._sockets = sockets
        self._channel = channel
        self._inspecting = inspecting
        if inspecting:  # later nobody may read files any more
            importlib.import_module("pyro_mcp.network.http.plain_http")
        self._swap = swap
        self._broker = Broker(channel)
        self._resolver = Resolver(self._broker)
        self._datagrams = Datagrams(sockets.udp, Packets(sockets.raw), self._broker, self._resolver)
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._published: dict[int, set[socket.socket]] = {}
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Relay until the outer half has ended."""
        spawn_or_exit(self._datagrams.serve)
        spawn_or_exit(self._accept)
        try:
            while True:
                message, descriptors = receive_message(self._channel)
                if len(descriptors) == 1 and "published" in message:
                    client = socket.socket(fileno=descriptors[0])
                    self._start(self._to_guest, client, message["host_port"], message["published"])
                else:
                    close_all(descriptors)
                    self._end_published(message.get("unpublished"))
        except ChannelClosed:
            os._exit(0)

    def _start(self, serve: Callable[..., None], line: socket.socket, *more: object) -> None:
        """Serve one connection in a thread, unless there are too many."""
        if not self._slots.acquire(blocking=False):
            reset(line)
            return

        def run() -> None:
            try:
                serve(line, *more)
            finally:
                reset(line)
                self._slots.release()

        if not spawn(run):
            self._slots.release()
            reset(line)

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._sockets.tcp.accept()
            except OSError:
                time.sleep(0.05)  # no descriptors are left for a moment, or the machine changed its mind
                continue
            self._start(self._from_guest, line)

    def _from_guest(self, line: socket.socket) -> None:
        address, port = line.getsockname()
        if port == DNS_PORT:
            with line:
                self._resolver.serve_stream(line)
            return
        try:
            claim, why, first, inspect = None, "", b"", ""
            if self._inspecting and port in INSPECTED_PORTS:
                name, inspect = self._broker.target(address, port, "tcp")
                if inspect == "swap" and self._swap is not None:
                    self._swap(line, name, port, lambda: self._broker.dial(address, port, "tcp"))
                    return
                if inspect:
                    claim, why, first = _greeting(line, inspect)
            other = self._broker.dial(address, port, "tcp", claim=claim, why=why)
        except (Denied, OSError):
            return
        with other:
            through = self._watched(claim, address, port) if inspect == "http" and claim else None
            try:
                other.sendall(through(first) if through else first)
            except (OSError, Stopped):
                return
            relay(line, other, through)

    def _watched(self, host: str, address: str, port: int) -> Filter:
        """A filter for plain HTTP: the first request was for `host`, and so must be all others."""
        from pyro_mcp.network.http.plain_http import Requests  # noqa: PLC0415 - loaded with the first `Inner` that inspects

        requests = Requests(host)

        def through(data: bytes) -> bytes:
            try:
                return requests.feed(data)
            except client_hello.Unclear as error:
                self._broker.denounce(address, port, str(error))
                raise Stopped from error

        return through

    def _to_guest(self, client: socket.socket, host_port: int, guest_port: int) -> None:
        """Serve a connection that came to a published port."""
        with self._lock:
            self._published.setdefault(host_port, set()).add(client)
        try:
            with socket.create_connection((GUEST_ADDRESS, guest_port), _GUEST_SECONDS) as guest:
                relay(client, guest)
        except OSError:
            return
        finally:
            with self._lock:
                self._published.get(host_port, set()).discard(client)

    def _end_published(self, host_port: object) -> None:
        with self._lock:
            lines = self._published.pop(host_port, set()) if isinstance(host_port, int) else set()
            for line in lines:
                try:
                    line.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it has ended by itself


def _greeting(line: socket.socket, inspect: str) -> tuple[str | None, str, bytes]:
    """The host that a connection's first bytes name, else why none, and these bytes."""
    from pyro_mcp.network.http.plain_http import http_name  # noqa: PLC0415 - loaded with the first `Inner` that inspects

    read = client_hello.tls_name if inspect == "tls" else http_name
    end = time.monotonic() + _GREETING_SECONDS
    data = b""
    try:
        while True:
            line.settimeout(max(0.01, end - time.monotonic()))
            more = line.recv(client_hello.MOST_BYTES - len(data))
            if not more:
                return None, "it ended before it said which host it is for", data
            data += more
            name = read(data)
            if name is not None:
                return name, "", data
            if len(data) >= client_hello.MOST_BYTES:
                return None, "its greeting is too long", data
    except TimeoutError:
        return None, "it did not say in time which host it is for", data
    except client_hello.Unclear as error:
        return None, str(error), data
