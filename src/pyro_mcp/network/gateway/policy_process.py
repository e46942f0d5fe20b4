"""The outer half of a gateway: it stays in the host's network, decides, and opens connections for the inner half."""

from __future__ import annotations

import base64
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pyro_mcp.network.addressing.routes import Address
from pyro_mcp.network.channel.messages import ChannelClosed, Message, close_all, receive_message, send_message
from pyro_mcp.network.gateway.ports import Ports
from pyro_mcp.network.gateway.threads import spawn
from pyro_mcp.network.policy.decisions import Policy, Refused, Target

_MOST_REQUESTS = 1024  # more than the inner half ever has open at once
_MOST_CLIENTS = 32
_DIAL_SECONDS = 8.0


class Outer:
    """Serves the inner half over `channel` until it ends."""

    def __init__(self, policy: Policy, channel: socket.socket) -> None:
        self._policy = policy
        self._channel = channel
        self._slots = threading.BoundedSemaphore(_MOST_REQUESTS)

    def serve(self) -> None:
        """Answer requests, each on the socket that came with it; returns when the inner half has ended."""
        with suppress(ChannelClosed):
            while True:
                message, descriptors = receive_message(self._channel)
                if len(descriptors) != 1 or not self._slots.acquire(blocking=False):
                    close_all(descriptors)  # which is an answer too
                    continue
                if not spawn(self._answer, message, descriptors[0]):
                    self._slots.release()
                    close_all(descriptors)

    def _answer(self, message: Message, descriptor: int) -> None:
        with socket.socket(fileno=descriptor) as line:
            try:
                handler = {
                    "resolve": self._resolve,
                    "target": self._target,
                    "dial": self._dial,
                    "denounce": self._denounce,
                }[message["do"]]
                reply, opened = handler(message)
            except Refused as error:
                reply, opened = {"refused": str(error)}, None
            except (KeyError, TypeError, ValueError):
                reply, opened = {"refused": "the request is malformed"}, None
            finally:
                self._slots.release()
            with suppress(ChannelClosed):
                send_message(line, reply, [] if opened is None else [opened.fileno()])
            if opened is not None:
                opened.close()

    def _resolve(self, message: Message) -> tuple[Message, None]:
        labels = [base64.b64decode(label) for label in message["labels"]]
        answer = self._policy.resolve(labels, int(message["type"]))
        records = [
            [[_text(label) for label in one.labels], one.type, one.ttl, _text(one.data)] for one in answer.records
        ]
        return {"code": answer.code, "why": answer.why, "records": records}, None

    def _target(self, message: Message) -> tuple[Message, None]:
        target = self._policy.target(*_wanted(message))
        return {"name": target.name, "inspect": target.inspect}, None

    def _dial(self, message: Message) -> tuple[Message, socket.socket]:
        target = self._policy.target(*_wanted(message))
        if target.inspect in ("tls", "http") and message.get("claim") != target.name:
            raise self._policy.refusal(target, str(message.get("why") or "it is for another host")[:200])
        return {}, self._connected(target)

    def _denounce(self, message: Message) -> tuple[Message, None]:
        raise self._policy.refusal(self._policy.target(*_wanted(message)), str(message["why"])[:200])

    def _connected(self, target: Target) -> socket.socket:
        """A socket connected to the first address of the target that answers."""
        kind = socket.SOCK_STREAM if target.protocol == "tcp" else socket.SOCK_DGRAM
        end = time.monotonic() + _DIAL_SECONDS
        addresses = self._policy.addresses(target)
        problem = ""
        for left in range(len(addresses), 0, -1):
            address = addresses[-left]
            try:
                line = connect(address, target.port, kind, max(0.1, (end - time.monotonic()) / min(left, 3)))
            except OSError as error:
                problem = f"failed: {os.strerror(error.errno)}" if error.errno else "failed: no answer in time"
                continue
            self._policy.connected(target, address)
            return line
        self._policy.connected(target, addresses[0], problem)
        raise Refused(problem)


def _wanted(message: Message) -> tuple[str, int, str]:
    address, port, protocol = message["address"], message["port"], message["protocol"]
    if not isinstance(address, str) or not isinstance(port, int) or protocol not in ("tcp", "udp"):
        raise ValueError("not a target")
    return address, port, protocol


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def connect(address: Address, port: int, kind: int, seconds: float) -> socket.socket:
    """A socket connected to exactly that address; raises `OSError`."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    line = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        line.settimeout(seconds)
        line.connect((str(address), port))
        line.settimeout(None)
        if line.getsockname() == line.getpeername():
            raise OSError(errno.ECONNREFUSED, "it met itself")  # two ends of one TCP socket: there is no server
    except OSError:
        line.close()
        raise
    return line


class Control:
    """Serves whoever may open the gateway's control socket: what is so, and which ports are published."""

    def __init__(self, listener: socket.socket, ports: Ports, info: Callable[[], dict[str, Any]]) -> None:
        self._listener = listener
        self._ports = ports
        self._info = info
        self._slots = threading.BoundedSemaphore(_MOST_CLIENTS)

    def serve(self) -> None:
        """Answer clients for ever; one that only listens learns of the gateway's end."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                time.sleep(0.05)  # no descriptors are left for a moment
                continue
            if not self._slots.acquire(blocking=False):
                client.close()
            elif not spawn(self._serve_one, client):
                self._slots.release()
                client.close()

    def _serve_one(self, client: socket.socket) -> None:
        try:
            with client, suppress(ChannelClosed):
                while True:
                    message, descriptors = receive_message(client)
                    send_message(client, self._answer(message, descriptors))
        finally:
            self._slots.release()

    def _answer(self, message: Message, descriptors: list[int]) -> Message:
        wish = message.get("do")
        if wish == "publish" and len(descriptors) == 1 and isinstance(message.get("guest_port"), int):
            return self._ports.publish(socket.socket(fileno=descriptors[0]), message["guest_port"])
        if wish == "watch" and descriptors and isinstance(message.get("host_ports"), list):
            return self._ports.watch(message["host_ports"], descriptors)
        close_all(descriptors)
        if wish == "unpublish":
            return self._ports.unpublish(message.get("host_port"))
        return self._info() if wish == "info" else {"error": "the request is malformed"}


def wait_for_end(life: int) -> None:
    """Wait until the other side of a connection is gone."""
    poll = select.poll()
    poll.register(life, select.POLLIN)  # as ever with poll, a hang-up counts too
    poll.poll()
