"""The gateway's side of the channel to its supervisor. The supervisor's answers are checked."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyro_mcp.errors import HostNotReady, PyroError
from pyro_mcp.host.sockets import connect
from pyro_mcp.network.channel.memory_file import read_memory_file
from pyro_mcp.network.channel.messages import ChannelClosed, Message, close_all, receive_message, send_message
from pyro_mcp.network.channel.requests import request
from pyro_mcp.network.metering.values import (
    ModelRefusal,
    ModelRequest,
    ModelUsage,
    Reservation,
    verdict_from_json,
)
from pyro_mcp.network.policy.refused import Refused
from pyro_mcp.network.policy.rules import Rules
from pyro_mcp.results import NetworkLogEntry

_ANSWER_SECONDS = 15.0
_SEND_SECONDS = struct.pack("ll", 15, 0)
_LONGEST_TEXT = 1000
_LONGEST_ID = 200


class Unsupervised(Refused):
    """A refusal because the supervisor gave no valid answer."""


def connect_to_supervisor(path: Path) -> socket.socket:
    """Return a connection to the supervisor that listens at `path`; raises `HostNotReady`."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    channel.settimeout(_ANSWER_SECONDS)
    try:
        connect(channel, path)
    except OSError as error:
        channel.close()
        raise HostNotReady(
            f"the supervisor of this network does not answer at {path}: {error.strerror or error}",
            hint="start the program that supervises it again; without it there is no network",
        ) from error
    channel.settimeout(None)
    return channel


class SupervisorClient:
    """The supervisor at the other end of `channel`, for any thread."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_SECONDS)

    def start(self) -> None:
        """Check that the supervisor answers; raises `Unsupervised`."""
        self._request({"do": "start"})

    def decided(self, entry: NetworkLogEntry) -> str:
        """Let the supervisor record a decision; return its text for the guest, for a refusal. Raises `Unsupervised`."""
        return self._text({"do": "decided", "entry": entry})

    def connect(self, name: str) -> socket.socket:
        """Return a connection of the supervisor's for a name; raises `Refused`."""
        reply, descriptors = self._exchange({"do": "connect", "name": name})
        if len(descriptors) != 1:
            close_all(descriptors)
            raise Unsupervised(_problem(reply) or "the supervisor's answer holds no connection")
        try:
            sock = socket.socket(fileno=descriptors[0])
        except OSError as error:
            close_all(descriptors)
            raise Unsupervised("the supervisor's answer holds no connection") from error
        if sock.type != socket.SOCK_STREAM:
            sock.close()
            raise Unsupervised("the supervisor's answer holds no stream")
        return sock

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        """Return "" if the secret may be used, otherwise why not; raises `Unsupervised`."""
        return self._text({"do": "secret_use", "secret": secret, "host": host, "method": method, "path": path})

    def model_request(self, metered: ModelRequest) -> Reservation | ModelRefusal:
        """Return the supervisor's verdict about a metered request; raises `Unsupervised`."""
        reply = self._request({"do": "model_request", "request": metered.to_json()})
        try:
            verdict = verdict_from_json(reply)
        except ValueError as error:
            raise Unsupervised("the supervisor's answer is not valid") from error
        if isinstance(verdict, ModelRefusal):
            return ModelRefusal(_shown(verdict.reason), verdict.passing)
        if len(verdict.id) > _LONGEST_ID:
            raise Unsupervised("the supervisor's answer is not valid")
        return verdict

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        """Report what a request to a model has used at its end; does not wait for an answer. Raises `Unsupervised`."""
        message = {"do": "model_usage", "reservation": reservation, "usage": usage.to_json()}
        try:
            send_message(self._channel, message)
        except ChannelClosed as error:
            raise Unsupervised(f"the supervisor does not answer: {error}") from error

    def serve(self, set_rules: Callable[[Rules, int], None]) -> None:
        """Carry out the supervisor's requests; return when it has ended.

        `set_rules` gets the rules, and the descriptor of the file that holds them.
        """
        with suppress(ChannelClosed):
            while True:
                message, descriptors = receive_message(self._channel)
                try:
                    if message.get("do") == "set_rules" and len(descriptors) == 2:
                        reply = _set_rules(set_rules, descriptors[0])
                        _answer(descriptors[1], reply)
                finally:
                    close_all(descriptors)

    def _text(self, message: Message) -> str:
        text = self._request(message).get("text")
        if not isinstance(text, str):
            raise Unsupervised("the supervisor's answer is not valid")
        return _shown(text)

    def _request(self, message: Message) -> Message:
        reply, descriptors = self._exchange(message)
        close_all(descriptors)
        return reply

    def _exchange(self, message: Message) -> tuple[Message, list[int]]:
        try:
            reply, descriptors = request(self._channel, message, seconds=_ANSWER_SECONDS)
        except ChannelClosed as error:
            raise Unsupervised(f"the supervisor does not answer: {error}") from error
        if problem := _problem(reply):
            close_all(descriptors)
            raise Unsupervised(problem)
        if "refused" in reply:
            close_all(descriptors)
            raise Refused(_shown(str(reply["refused"])) or "the supervisor refuses it")
        return reply, descriptors


def _problem(reply: Message) -> str:
    return _shown(str(reply["error"])) if "error" in reply else ""


def _shown(text: str) -> str:
    """Return a text of bounded length without control characters."""
    return "".join(one if one.isprintable() else " " for one in text[:_LONGEST_TEXT])


def _set_rules(set_rules: Callable[[Rules, int], None], settings: int) -> dict[str, Any]:
    try:
        set_rules(Rules.from_json(read_memory_file(settings)), settings)
    except PyroError as error:
        return {"error": error.message, "hint": error.hint}
    except (OSError, KeyError, TypeError, ValueError) as error:
        return {"error": f"these are no rules: {error}"}
    return {}


def _answer(descriptor: int, reply: Message) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as sock, suppress(ChannelClosed):
        send_message(sock, reply)
