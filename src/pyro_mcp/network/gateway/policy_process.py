"""The policy process of a gateway: in the host's network, it decides, and opens connections for the relay process."""

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
from typing import TYPE_CHECKING, Any

from pyro_mcp.network.addressing.routes import Address
from pyro_mcp.network.channel.messages import ChannelClosed, Message, close_all, receive_message, send_message
from pyro_mcp.network.gateway.ports import Ports
from pyro_mcp.network.gateway.threads import spawn
from pyro_mcp.network.metering.values import ModelRequest, ModelUsage
from pyro_mcp.network.policy.allow_list import SUPERVISOR
from pyro_mcp.network.policy.decisions import HttpRequest, Policy, Target
from pyro_mcp.network.policy.refused import NoConnection, Refused

if TYPE_CHECKING:
    from pyro_mcp.network.supervision.client import SupervisorClient

_MOST_REQUESTS = 1024  # more than the relay process ever has open at once
_MOST_CLIENTS = 32
_MOST_SECRETS = 256
_DIAL_SECONDS = 8.0


class PolicyServer:
    """The server for the relay process at the other end of `channel`."""

    def __init__(self, policy: Policy, channel: socket.socket, supervisor: SupervisorClient | None = None) -> None:
        self._policy = policy
        self._supervisor = supervisor
        self._channel = channel
        self._slots = threading.BoundedSemaphore(_MOST_REQUESTS)

    def serve(self) -> None:
        """Answer requests, each on the socket that came with it; return when the relay process has ended."""
        with suppress(ChannelClosed):
            while True:
                message, descriptors = receive_message(self._channel)
                if message.get("do") == "report_request" and not descriptors:  # there is no supervisor to wait for
                    with suppress(KeyError, ValueError, TypeError):
                        self._report_request(message)
                    continue
                if message.get("do") == "model_usage" and not descriptors:
                    self._model_usage(message)
                    continue
                if len(descriptors) != 1 or not self._slots.acquire(blocking=False):
                    close_all(descriptors)  # the relay process sees the end as a refusal
                    continue
                if not spawn(self._answer, message, descriptors[0]):
                    self._slots.release()
                    close_all(descriptors)

    def _answer(self, message: Message, descriptor: int) -> None:
        with socket.socket(fileno=descriptor) as sock:
            try:
                handler = {
                    "resolve": self._resolve,
                    "target": self._target,
                    "dial": self._dial,
                    "report_refusal": self._report_refusal,
                    "report_request": self._report_request,
                    "model_request": self._model_request,
                }[message["do"]]
                reply, opened = handler(message)
            except Refused as error:
                reply, opened = {"refused": str(error), "failed": isinstance(error, NoConnection)}, None
            except (KeyError, TypeError, ValueError):
                reply, opened = {"refused": "the request is malformed"}, None
            finally:
                self._slots.release()
            with suppress(ChannelClosed):
                send_message(sock, reply, [] if opened is None else [opened.fileno()])
            if opened is not None:
                opened.close()

    def _resolve(self, message: Message) -> tuple[Message, None]:
        labels = [base64.b64decode(label) for label in message["labels"]]
        answer = self._policy.resolve(labels, int(message["type"]))
        records = [
            [[_text(label) for label in one.labels], one.type, one.ttl, _text(one.data)] for one in answer.records
        ]
        return {"code": answer.code, "reason": answer.reason, "records": records}, None

    def _target(self, message: Message) -> tuple[Message, None]:
        target = self._policy.target(*_requested_target(message))
        return {"name": target.name, "inspect": target.inspect}, None

    def _dial(self, message: Message) -> tuple[Message, socket.socket]:
        rules = self._policy.rules
        target = self._policy.target(*_requested_target(message))
        if target.inspect in ("tls", "http") and message.get("server_name") != target.name:
            reason = str(message.get("reason") or "the connection is for another host")[:200]
            raise self._policy.refusal(target, reason)
        sock = self._connect(target)
        if self._policy.rules is not rules:
            sock.close()
            raise NoConnection("the rules have just changed")
        return {}, sock

    def _report_refusal(self, message: Message) -> tuple[Message, None]:
        raise self._policy.refusal(self._policy.target(*_requested_target(message)), str(message["reason"])[:200])

    def _report_request(self, message: Message) -> tuple[Message, None]:
        address, port, _ = _requested_target({**message, "protocol": "tcp"})
        refused = message["verdict"] != "allowed" and (str(message["reason"])[:300] or "it is refused")
        method, path = (str(message[key])[:300] for key in ("method", "path"))
        secrets = tuple(str(one)[:200] for one in message["secrets"])
        if len(secrets) > _MOST_SECRETS:
            raise ValueError("a request has too many secrets")
        return {"text": self._policy.requested(address, port, HttpRequest(method, path, refused or "", secrets))}, None

    def _model_request(self, message: Message) -> tuple[Message, None]:
        if self._supervisor is None:
            raise Refused("nobody supervises this sandbox")
        return self._supervisor.model_request(ModelRequest.from_json(message["request"])).to_json(), None

    def _model_usage(self, message: Message) -> None:
        """Pass on what a reservation has used; if a message is invalid or gets lost, the amount stays reserved."""
        if self._supervisor is not None:
            with suppress(KeyError, ValueError, TypeError, AttributeError, Refused):
                usage = ModelUsage.from_json(message["usage"])
                self._supervisor.model_usage(str(message["reservation"])[:100], usage)

    def _connect(self, target: Target) -> socket.socket:
        """Return a socket connected to the first address of the target that answers, or to its upstream."""
        if target.upstream == SUPERVISOR:
            return self._connect_by_supervisor(target)
        kind = socket.SOCK_STREAM if target.protocol == "tcp" else socket.SOCK_DGRAM
        end = time.monotonic() + _DIAL_SECONDS
        addresses = self._policy.addresses(target)
        self._policy.allow(target, addresses[0])
        problem = ""
        for left in range(len(addresses), 0, -1):
            address = addresses[-left]
            try:
                sock = connect(address, target.connected_port, kind, max(0.1, (end - time.monotonic()) / min(left, 3)))
            except OSError as error:
                problem = f"failed: {os.strerror(error.errno)}" if error.errno else "failed: no answer in time"
                continue
            self._policy.connected(target, address)
            return sock
        self._policy.connected(target, addresses[0], problem)
        raise NoConnection(problem)

    def _connect_by_supervisor(self, target: Target) -> socket.socket:
        if self._supervisor is None:
            raise self._policy.refusal(target, "there is no supervisor")
        self._policy.allow(target, None)
        try:
            sock = self._supervisor.connect(target.name)
        except Refused as error:
            self._policy.connected(target, None, f"failed: {error}")
            raise NoConnection(str(error)) from error
        self._policy.connected(target, None)
        return sock


def _requested_target(message: Message) -> tuple[str, int, str]:
    address, port, protocol = message["address"], message["port"], message["protocol"]
    if not isinstance(address, str) or not isinstance(port, int) or protocol not in ("tcp", "udp"):
        raise ValueError("not a target")
    return address, port, protocol


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def connect(address: Address, port: int, kind: int, seconds: float) -> socket.socket:
    """Return a socket connected to exactly that address; raises `OSError`."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(seconds)
        sock.connect((str(address), port))
        sock.settimeout(None)
        if sock.getsockname() == sock.getpeername():  # a simultaneous open with itself: there is no server
            raise OSError(errno.ECONNREFUSED, "the socket is connected to itself")
    except OSError:
        sock.close()
        raise
    return sock


class ControlServer:
    """The server of the control socket, for `GatewayControl`."""

    def __init__(self, listener: socket.socket, ports: Ports, info: Callable[[], dict[str, Any]]) -> None:
        self._listener = listener
        self._ports = ports
        self._info = info
        self._slots = threading.BoundedSemaphore(_MOST_CLIENTS)

    def serve(self) -> None:
        """Answer clients for ever; a client that stays connected notices the gateway's end."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                time.sleep(0.05)  # out of descriptors for the moment
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
        command = message.get("do")
        if command == "publish" and len(descriptors) == 1 and isinstance(message.get("guest_port"), int):
            return self._ports.publish(socket.socket(fileno=descriptors[0]), message["guest_port"])
        if command == "watch" and descriptors and isinstance(message.get("host_ports"), list):
            return self._ports.watch(message["host_ports"], descriptors)
        close_all(descriptors)
        if command == "unpublish":
            return self._ports.unpublish(message.get("host_port"))
        return self._info() if command == "info" else {"error": "the request is malformed"}


def wait_for_end(lifetime: int) -> None:
    """Wait until the other end of a connection is closed, or the process of a pidfd has ended."""
    poll = select.poll()
    poll.register(lifetime, select.POLLIN)  # poll reports a hang-up as well
    poll.poll()
