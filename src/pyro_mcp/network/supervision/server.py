"""The supervisor's side of the channel to a gateway."""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest
from pyro_mcp.host.sockets import bind
from pyro_mcp.network.channel.memory_file import memory_file
from pyro_mcp.network.channel.messages import (
    ChannelClosed,
    Message,
    close_all,
    receive_message,
    send_message,
)
from pyro_mcp.network.channel.requests import request
from pyro_mcp.network.metering.values import ModelRequest, ModelUsage
from pyro_mcp.network.policy.rules import Rules
from pyro_mcp.network.supervision.supervisor import Refusal, Supervisor
from pyro_mcp.results import NetworkLogEntry

_MOST_REQUESTS = 128
_MOST_USAGES = 4096
_CHANGE_SECONDS = 20.0
_CREDENTIALS = struct.Struct("3i")

Reply = tuple[Message, socket.socket | None]


def listen_for_gateway(path: Path) -> socket.socket:
    """Return a socket that listens for gateways at `path`, in a folder of this user alone; raises `HostNotReady`."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        bind(listener, path)
        listener.listen(4)
    except OSError as error:
        listener.close()
        raise HostNotReady(f"cannot listen at {path}: {error.strerror}", hint="see its folder") from error
    return listener


def serve_supervisor(channel: socket.socket, supervisor: Supervisor) -> SupervisedGateway:
    """Serve the gateway that has connected to a socket of `listen_for_gateway`, in threads of this process.

    Raises `Conflict` if the process at the other end is not this user's.
    """
    _, user, _ = _CREDENTIALS.unpack(
        channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size),
    )
    if user != os.geteuid():
        channel.close()
        raise Conflict("a process of another user has connected to the supervisor")
    gateway = SupervisedGateway(channel, supervisor)
    threading.Thread(target=gateway.serve, daemon=True).start()
    return gateway


class SupervisedGateway:
    """A gateway and its supervisor: the gateway ends when this process ends or calls `close`."""

    def __init__(self, channel: socket.socket, supervisor: Supervisor) -> None:
        self._channel = channel
        self._supervisor = supervisor
        self._slots = threading.BoundedSemaphore(_MOST_REQUESTS)
        self._ended = threading.Event()
        self._usages: queue.Queue[Message | None] = queue.Queue(_MOST_USAGES)
        self._handlers: dict[object, Callable[[Message], Reply]] = {
            "start": lambda _: ({}, None),
            "decided": self._decided,
            "connect": self._connect,
            "secret_use": self._secret_use,
            "model_request": self._model_request,
        }

    def set_rules(self, rules: Rules) -> None:
        """Replace the rules of the gateway; afterwards every connection that they do not allow has been cut.

        Raises `InvalidRequest` for rules that need a gateway started with them, and `Conflict` when it has ended.
        """
        settings = memory_file(rules.to_json())
        try:
            reply, descriptors = request(self._channel, {"do": "set_rules"}, [settings], seconds=_CHANGE_SECONDS)
        except ChannelClosed as error:
            raise Conflict("the gateway has ended, or did not change its rules in time") from error
        finally:
            os.close(settings)
        close_all(descriptors)
        if "error" in reply:
            raise InvalidRequest(str(reply["error"]), hint=str(reply.get("hint", "")))

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the gateway has ended; return False if it still runs after so many seconds."""
        return self._ended.wait(seconds)

    def close(self) -> None:
        """End the gateway: its guest has no network from now on."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Answer the gateway's requests until it ends; end it when something is wrong with them."""
        threading.Thread(target=self._count_usages, daemon=True).start()
        with suppress(ChannelClosed), self._ending():
            while True:
                message, descriptors = receive_message(self._channel)
                if message.get("do") == "model_usage":
                    close_all(descriptors)
                    self._usages.put(message)
                    continue
                if len(descriptors) != 1:
                    close_all(descriptors)
                    continue
                answer = socket.socket(fileno=descriptors[0])
                if message.get("do") == "start" or _is_allowed(message):
                    self._answer(message, answer)  # in this thread: it is fast, and none of it waits for refusals
                else:
                    self._spawn(message, answer)

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """End the gateway after the block, whatever happens in it."""
        try:
            yield
        finally:
            self.close()
            self._usages.put(None)

    def _count_usages(self) -> None:
        """Pass the usages on; when all are passed on, the gateway has ended."""
        while (message := self._usages.get()) is not None:
            self._model_usage(message)
        self._channel.close()
        self._ended.set()

    def _spawn(self, message: Message, answer: socket.socket) -> None:
        if not self._slots.acquire(blocking=False):
            _send(answer, {"error": "the supervisor has too many questions to answer"})
            return

        def run() -> None:
            try:
                self._answer(message, answer)
            finally:
                self._slots.release()

        threading.Thread(target=run, daemon=True).start()

    def _answer(self, message: Message, answer: socket.socket) -> None:
        opened = None
        try:
            reply, opened = self._handlers[message.get("do")](message)
        except Exception:  # noqa: BLE001 - whatever it is, the gateway refuses, and this process goes on
            traceback.print_exc()
            reply = {"error": "the supervisor could not decide or record it"}
        _send(answer, reply, opened)

    def _decided(self, message: Message) -> Reply:
        try:
            return {"text": self._supervisor.decided(cast(NetworkLogEntry, message["entry"]))}, None
        except Conflict as error:
            return {"refused": error.message}, None

    def _connect(self, message: Message) -> Reply:
        found = self._supervisor.connect(str(message["name"]))
        return ({"refused": found.reason}, None) if isinstance(found, Refusal) else ({}, found)

    def _secret_use(self, message: Message) -> Reply:
        secret, host, method, path = (str(message[key]) for key in ("secret", "host", "method", "path"))
        return {"text": self._supervisor.secret_use(secret, host, method, path)}, None

    def _model_request(self, message: Message) -> Reply:
        return self._supervisor.model_request(ModelRequest.from_json(message["request"])).to_json(), None

    def _model_usage(self, message: Message) -> None:
        try:
            usage = ModelUsage.from_json(message["usage"])
            self._supervisor.model_usage(str(message["reservation"]), usage)
        except Exception:  # noqa: BLE001 - the gateway must not spend what nobody counts
            traceback.print_exc()
            self.close()


def _is_allowed(message: dict[str, Any]) -> bool:
    entry = message.get("entry")
    return message.get("do") == "decided" and isinstance(entry, dict) and entry.get("verdict") == "allowed"


def _send(answer: socket.socket, reply: Message, opened: socket.socket | None = None) -> None:
    """Send an answer, and close the sockets."""
    with answer, suppress(ChannelClosed):
        send_message(answer, reply, [] if opened is None else [opened.fileno()])
    if opened is not None:
        opened.close()
