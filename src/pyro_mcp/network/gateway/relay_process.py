"""The relay process of a gateway: alone with the guest's device in a network namespace, it relays what is allowed."""

from __future__ import annotations

import importlib
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from pyro_mcp.network.addressing.addresses import GUEST_ADDRESS
from pyro_mcp.network.channel.memory_file import read_memory_file
from pyro_mcp.network.channel.messages import ChannelClosed, Message, close_all, receive_message, send_message
from pyro_mcp.network.channel.policy_client import Denied, PolicyClient, Unreachable
from pyro_mcp.network.gateway.connections import Connections, OpenConnection
from pyro_mcp.network.gateway.datagrams import DNS_PORT, Datagrams
from pyro_mcp.network.gateway.packets import Packets
from pyro_mcp.network.gateway.resolver import Resolver
from pyro_mcp.network.gateway.threads import spawn, spawn_or_exit
from pyro_mcp.network.http import client_hello
from pyro_mcp.network.http.refusal import refuse_request
from pyro_mcp.network.http.relay import Filter, Stopped, relay, reset
from pyro_mcp.network.policy.rules import Rules

_TRANSPARENT = 19  # linux/in.h: IP_TRANSPARENT
_MOST_CONNECTIONS = 512
_HELLO_SECONDS = 15.0
_GUEST_SECONDS = 5.0
_HTTP_PORT = 80

RequestReport = Callable[[str, tuple[str, str], str, Sequence[str]], str]
HttpHandler = Callable[[socket.socket, str, int, Callable[[], socket.socket], RequestReport], None]
"""Serves a guest's connection to a server name and port; `TLSProxy.serve` describes it."""


@dataclass(frozen=True)
class RelaySockets:
    """The sockets for all TCP connections, for all UDP datagrams, and for sending raw packets."""

    tcp: socket.socket
    udp: socket.socket
    raw: socket.socket


def open_sockets() -> RelaySockets:
    """Open the sockets in this namespace, before rights are given up; raises `OSError`."""
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    for sock in (tcp, udp):
        sock.setsockopt(socket.IPPROTO_IP, _TRANSPARENT, 1)
        sock.bind(("0.0.0.0", 0))  # noqa: S104 - the namespace has no interface but the guest's device
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    tcp.listen(256)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    return RelaySockets(tcp, udp, raw)


class RelayProcess:
    """The relay between the guest and the connections that the policy process, at the other end of `channel`, opens.

    Connections to `inspected_ports` are inspected first. `http_proxy` serves those whose requests the gateway reads, by
    the rules that `set_rules` changes.
    """

    def __init__(
        self,
        sockets: RelaySockets,
        channel: socket.socket,
        *,
        inspected_ports: Collection[int],
        http_proxy: HttpHandler | None = None,
        set_rules: Callable[[Rules], None] | None = None,
        supervised: bool = False,
    ) -> None:
        self._sockets = sockets
        self._channel = channel
        self._inspected_ports = inspected_ports
        if inspected_ports:  # later this process cannot read files any more
            importlib.import_module("pyro_mcp.network.http.plain_http")
        self._http_proxy = http_proxy
        self._policy = PolicyClient(channel, supervised=supervised)
        self._resolver = Resolver(self._policy)
        self._datagrams = Datagrams(sockets.udp, Packets(sockets.raw), self._policy, self._resolver)
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._connections = Connections(kept=supervised)
        self._set_proxy_rules = set_rules
        self._published: dict[int, set[socket.socket]] = {}
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Relay until the policy process has ended."""
        spawn_or_exit(self._datagrams.serve)
        spawn_or_exit(self._accept)
        try:
            while True:
                message, descriptors = receive_message(self._channel)
                if len(descriptors) == 1 and "published" in message:
                    client = socket.socket(fileno=descriptors[0])
                    self._start(self._to_guest, client, message["host_port"], message["published"])
                elif message.get("do") in ("rules", "cut"):
                    self._change(message, descriptors)
                else:
                    close_all(descriptors)
                    self._end_published(message.get("unpublished"))
        except ChannelClosed:
            os._exit(0)

    def _change(self, message: Message, descriptors: list[int]) -> None:
        """Take new rules and answer with the open connections, or end some of these."""
        with socket.socket(fileno=descriptors.pop()) as answer:
            reply: Message = {}
            if message["do"] == "cut":
                targets = {(address, port, kind, peer) for address, port, kind, peer in message["targets"]}
                self._connections.cut(targets)
                self._datagrams.cut(targets)
            else:
                if self._set_proxy_rules is not None:
                    self._set_proxy_rules(Rules.from_json(read_memory_file(descriptors[0])))
                reply = {"open": [*self._connections.targets(), *self._datagrams.targets()]}
            close_all(descriptors)
            send_message(answer, reply)

    def _start(self, serve: Callable[..., None], sock: socket.socket, *more: object) -> None:
        """Serve one connection in a thread; reset it when there are too many."""
        if not self._slots.acquire(blocking=False):
            reset(sock)
            return

        def run() -> None:
            try:
                serve(sock, *more)
            finally:
                reset(sock)
                self._slots.release()

        if not spawn(run):
            self._slots.release()
            reset(sock)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sockets.tcp.accept()
            except OSError:
                time.sleep(0.05)  # out of descriptors for the moment, or the guest has closed the connection
                continue
            self._start(self._from_guest, sock)

    def _from_guest(self, sock: socket.socket) -> None:
        address, port = sock.getsockname()
        if port == DNS_PORT:
            with sock:
                self._resolver.serve_stream(sock)
            return
        with self._connections.keep(sock, address, port) as connection:
            self._pass_on(sock, connection)

    def _pass_on(self, sock: socket.socket, connection: OpenConnection) -> None:
        """Serve a guest's connection as the policy process decides."""
        address, port = connection.address, connection.port

        def dial(*, server_name: str | None = None, reason: str = "") -> socket.socket:
            other = self._policy.dial(address, port, "tcp", server_name=server_name, reason=reason)
            return self._connections.continued(connection, other)

        try:
            server_name, reason, first, inspect = None, "", b"", ""
            if port in self._inspected_ports:
                name, inspect = self._policy.target(address, port, "tcp")
                if inspect == "proxy" and self._http_proxy is not None:
                    self._http_proxy(sock, name, port, dial, partial(self._policy.report_request, (address, port)))
                    return
                if inspect:
                    server_name, reason, first = _identify(sock, inspect)
            other = dial(server_name=server_name, reason=reason)
        except (Denied, OSError) as error:
            unread = not first  # a request whose first bytes are here already could not be answered: reset it at once
            if unread and port == _HTTP_PORT and isinstance(error, Denied) and not isinstance(error, Unreachable):
                refuse_request(sock, str(error))
            return
        with other:
            filter_ = self._request_filter(server_name, address, port) if inspect == "http" and server_name else None
            try:
                other.sendall(filter_(first) if filter_ else first)
            except (OSError, Stopped):
                return
            relay(sock, other, filter_)

    def _request_filter(self, server_name: str, address: str, port: int) -> Filter:
        """Return a filter for plain HTTP that passes requests for `server_name` only."""
        from pyro_mcp.network.http.plain_http import RequestFilter  # noqa: PLC0415 - loaded by a relay that inspects

        requests = RequestFilter(server_name)

        def pass_requests(data: bytes) -> bytes:
            try:
                return requests.feed(data)
            except client_hello.UnidentifiedHost as error:
                self._policy.report_refusal(address, port, str(error))
                raise Stopped from error

        return pass_requests

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
            connections = self._published.pop(host_port, set()) if isinstance(host_port, int) else set()
            for connection in connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it has ended already


def _identify(sock: socket.socket, inspect: str) -> tuple[str | None, str, bytes]:
    """Read the first bytes of a connection; return the server name in them, or None and the reason, and the bytes."""
    from pyro_mcp.network.http.plain_http import http_name  # noqa: PLC0415 - loaded by a relay that inspects

    read = client_hello.tls_name if inspect == "tls" else http_name
    end = time.monotonic() + _HELLO_SECONDS
    data = b""
    try:
        while True:
            sock.settimeout(max(0.01, end - time.monotonic()))
            more = sock.recv(client_hello.MOST_BYTES - len(data))
            if not more:
                return None, "the connection ended before it named its host", data
            data += more
            name = read(data)
            if name is not None:
                return name, "", data
            if len(data) >= client_hello.MOST_BYTES:
                return None, "the first message is too long", data
    except TimeoutError:
        return None, "the connection did not name its host in time", data
    except client_hello.UnidentifiedHost as error:
        return None, str(error), data
