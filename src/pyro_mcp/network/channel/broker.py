"""How the inner half asks the outer one."""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pyro_mcp.network.channel.messages import (
    ChannelClosed,
    Message,
    close_all,
    message_pair,
    receive_message,
    send_message,
)
from pyro_mcp.network.dns import dns_message

_DEADLINE = 20.0


class Denied(Exception):
    """The outer half said no; the message says why."""


class Broker:
    """Asks the outer half over `channel`; any thread may."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def resolve(self, question: dns_message.Question) -> tuple[int, list[dns_message.ResourceRecord], str]:
        """The code, records and reason to answer a question with; raises `Denied` when there is no answer at all."""
        labels = [base64.b64encode(label).decode("ascii") for label in question.labels]
        reply, _ = self._ask({"do": "resolve", "labels": labels, "type": question.type})
        records = [
            dns_message.ResourceRecord(
                tuple(base64.b64decode(label) for label in owner), kind, ttl, base64.b64decode(data)
            )
            for owner, kind, ttl, data in reply["records"]
        ]
        return reply["code"], records, reply["why"]

    def target(self, address: str, port: int, protocol: str) -> tuple[str, str]:
        """The name that an address stands for ("" for none), and how that must be confirmed ("" for not at all).

        Raises `Denied` when nothing may go there.
        """
        reply, _ = self._ask({"do": "target", "address": address, "port": port, "protocol": protocol})
        return reply["name"], reply["inspect"]

    def dial(self, address: str, port: int, protocol: str, *, claim: str | None = None, why: str = "") -> socket.socket:
        """A socket connected to there; `claim` is the name that the machine's own bytes are for, `why` there is none.

        Raises `Denied`.
        """
        wish = {"do": "dial", "address": address, "port": port, "protocol": protocol, "claim": claim, "why": why}
        _, descriptors = self._ask(wish)
        if not descriptors:
            raise Denied("there was no connection in the answer")
        return socket.socket(fileno=descriptors[0])

    def denounce(self, address: str, port: int, why: str) -> None:
        """Say that a connection that was allowed has been ended, and why."""
        with suppress(Denied):
            self._ask({"do": "denounce", "address": address, "port": port, "protocol": "tcp", "why": why})

    def _ask(self, message: Mapping[str, Any]) -> tuple[Message, Sequence[int]]:
        ours, theirs = message_pair()
        with ours:
            with theirs:
                try:
                    send_message(self._channel, message, [theirs.fileno()])
                except ChannelClosed as error:
                    raise Denied(str(error)) from error
            ours.settimeout(_DEADLINE)
            try:
                reply, descriptors = receive_message(ours)
            except ChannelClosed as error:
                raise Denied("too much is asked for at once") from error
        if "refused" in reply:
            close_all(descriptors)
            raise Denied(str(reply["refused"]))
        return reply, descriptors
