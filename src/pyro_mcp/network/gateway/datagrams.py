"""The guest's UDP: DNS is answered here, whichever address it is sent to; other datagrams are relayed by flow."""

from __future__ import annotations

import ipaddress
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pyro_mcp.network.channel.policy_client import Denied, PolicyClient
from pyro_mcp.network.gateway.connections import OpenTarget, peer_of
from pyro_mcp.network.gateway.packets import Packets
from pyro_mcp.network.gateway.resolver import Resolver
from pyro_mcp.network.gateway.threads import spawn

_ORIGINAL_DESTINATION = 20  # linux/in.h: IP_RECVORIGDSTADDR
_MOST_FLOWS = 256
_MOST_WAITING = 16
_MOST_QUESTIONS = 32
_IDLE_SECONDS = 60.0
_DATAGRAM = 65535
DNS_PORT = 53

Flow = tuple[int, str, int]
"""The guest's port, and the address and port that it sends to."""


@dataclass
class _State:
    """A flow; datagrams wait until it is connected."""

    sock: socket.socket | None = None
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    used: float = field(default_factory=time.monotonic)
    is_closed: bool = False


class Datagrams:
    """The relay for `arriving`, the socket that receives every datagram of the guest."""

    def __init__(self, arriving: socket.socket, packets: Packets, policy: PolicyClient, resolver: Resolver) -> None:
        self._arriving = arriving
        self._packets = packets
        self._policy = policy
        self._resolver = resolver
        self._flows: dict[Flow, _State] = {}
        self._lock = threading.Lock()
        self._questions = threading.BoundedSemaphore(_MOST_QUESTIONS)
        self._selector = selectors.DefaultSelector()
        arriving.setsockopt(socket.IPPROTO_IP, _ORIGINAL_DESTINATION, 1)
        arriving.setblocking(False)

    def serve(self) -> None:
        """Relay for ever."""
        self._selector.register(self._arriving, selectors.EVENT_READ, None)
        swept = time.monotonic()
        while True:
            for key, _ in self._selector.select(5.0):
                if key.data is None:
                    self._from_guest()
                else:
                    self._from_server(key.data)
            if time.monotonic() - swept > 5.0:
                swept = time.monotonic()
                self._sweep(swept - _IDLE_SECONDS)

    def _from_guest(self) -> None:
        try:
            data, extra, _, (_, guest_port) = self._arriving.recvmsg(_DATAGRAM, socket.CMSG_SPACE(16))
        except OSError:
            return
        for level, kind, value in extra:
            if level == socket.IPPROTO_IP and kind == _ORIGINAL_DESTINATION:
                port, address = struct.unpack_from("!2xH4s", value)
                flow = (guest_port, socket.inet_ntoa(address), port)
                if port == DNS_PORT:
                    self._question(flow, data)
                else:
                    self._forward(flow, data)

    def _question(self, flow: Flow, data: bytes) -> None:
        # Over the limit a question is dropped: the resolver retries.
        if self._questions.acquire(blocking=False) and not spawn(self._answer, flow, data):
            self._questions.release()

    def _answer(self, flow: Flow, data: bytes) -> None:
        try:
            reply = self._resolver.answer(data, udp=True)
            if reply is not None:
                self._packets.datagram(flow[1:], flow[0], reply)
        finally:
            self._questions.release()

    def _forward(self, flow: Flow, data: bytes) -> None:
        with self._lock:
            state = self._flows.get(flow)
            if state is None:
                if len(self._flows) >= _MOST_FLOWS or ipaddress.IPv4Address(flow[1]).is_multicast:
                    self._packets.unreachable(flow[1:], flow[0])
                    return
                state = _State()
                if not spawn(self._connect, flow, state):
                    return
                self._flows[flow] = state
            state.used = time.monotonic()
            if state.sock is None:
                state.waiting.append(data)
                return
            sock = state.sock
        self._send(flow, sock, data)

    def _connect(self, flow: Flow, state: _State) -> None:
        try:
            sock = self._policy.dial(flow[1], flow[2], "udp")
        except (Denied, OSError):
            with self._lock:
                if self._flows.get(flow) is state:
                    del self._flows[flow]
            self._packets.unreachable(flow[1:], flow[0])
            return
        sock.setblocking(False)
        with self._lock:
            if state.is_closed:
                sock.close()
                return
            state.sock = sock
            waiting = list(state.waiting)
            state.waiting.clear()
            self._selector.register(sock, selectors.EVENT_READ, flow)
        for data in waiting:
            self._send(flow, sock, data)

    def _send(self, flow: Flow, sock: socket.socket, data: bytes) -> None:
        try:
            sock.send(data)
        except BlockingIOError:
            return  # a full queue drops datagrams, as everywhere on the way
        except ConnectionRefusedError:
            self._packets.unreachable(flow[1:], flow[0])
        except OSError:
            return  # too long, or closed by the sweep in the meantime

    def _from_server(self, flow: Flow) -> None:
        with self._lock:
            state = self._flows.get(flow)
        if state is None or state.sock is None:
            return
        try:
            data = state.sock.recv(_DATAGRAM)
        except ConnectionRefusedError:
            self._packets.unreachable(flow[1:], flow[0])
            return
        except OSError:
            return
        state.used = time.monotonic()
        self._packets.datagram(flow[1:], flow[0], data)

    def targets(self) -> list[OpenTarget]:
        """Return what the flows are to."""
        with self._lock:
            flows = [(flow, state.sock) for flow, state in self._flows.items()]
            return sorted({(address, port, "udp", peer_of(sock) if sock else "") for (_, address, port), sock in flows})

    def cut(self, targets: Collection[OpenTarget]) -> None:
        """End the flows to `targets`, also those that are being connected."""
        wanted = {target[:3] for target in targets}
        with self._lock:
            self._close([flow for flow in self._flows if (*flow[1:], "udp") in wanted])

    def _sweep(self, before: float) -> None:
        """Close the flows that have not been used since `before`."""
        with self._lock:
            idle = [flow for flow, state in self._flows.items() if state.sock is not None and state.used < before]
            self._close(idle)

    def _close(self, flows: Sequence[Flow]) -> None:
        for flow in flows:
            state = self._flows.pop(flow)
            state.is_closed = True
            if state.sock is not None:
                self._selector.unregister(state.sock)
                state.sock.close()
