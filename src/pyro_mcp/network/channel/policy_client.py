"""The relay process's requests to the policy process."""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pyro_mcp.network.channel.messages import ChannelClosed, Message, close_all, send_message
from pyro_mcp.network.channel.requests import NoAnswer, request
from pyro_mcp.network.dns import dns_message
from pyro_mcp.network.metering.values import ModelRefusal, ModelRequest, ModelUsage, Reservation, verdict_from_json

_DEADLINE = 20.0


class Denied(Exception):
    """The policy process refused a request; the message gives the reason."""


class Unreachable(Denied):
    """A connection that the rules allow could not be made; the message gives the reason."""


class PolicyClient:
    """The client of the policy process at the other end of `channel`, for any thread.

    With a supervisor each HTTP request waits until it is recorded.
    """

    def __init__(self, channel: socket.socket, *, supervised: bool = False) -> None:
        self._channel = channel
        self._supervised = supervised

    def resolve(self, question: dns_message.Question) -> tuple[int, list[dns_message.ResourceRecord], str]:
        """Return the code, records and reason to answer a question with; raises `Denied` when there is no answer."""
        labels = [base64.b64encode(label).decode("ascii") for label in question.labels]
        reply, _ = self._request({"do": "resolve", "labels": labels, "type": question.type})
        records = [
            dns_message.ResourceRecord(
                tuple(base64.b64decode(label) for label in owner), kind, ttl, base64.b64decode(data)
            )
            for owner, kind, ttl, data in reply["records"]
        ]
        return reply["code"], records, reply["reason"]

    def target(self, address: str, port: int, protocol: str) -> tuple[str, str]:
        """Return the name behind a fake IP ("" for another address), and how to inspect the connection ("" for not).

        Raises `Denied` when nothing may go there.
        """
        reply, _ = self._request({"do": "target", "address": address, "port": port, "protocol": protocol})
        return reply["name"], reply["inspect"]

    def dial(
        self, address: str, port: int, protocol: str, *, server_name: str | None = None, reason: str = ""
    ) -> socket.socket:
        """Return a socket connected to there; raises `Denied`.

        `server_name` is the name in the guest's first bytes; `reason` says why there is none.
        """
        wanted = {"do": "dial", "address": address, "port": port, "protocol": protocol}
        _, descriptors = self._request({**wanted, "server_name": server_name, "reason": reason})
        if not descriptors:
            raise Denied("the answer holds no connection")
        return socket.socket(fileno=descriptors[0])

    def report_refusal(self, address: str, port: int, reason: str) -> None:
        """Report that an allowed connection has been ended, and the reason, for the log."""
        with suppress(Denied):
            report = {"do": "report_refusal", "address": address, "port": port, "protocol": "tcp", "reason": reason}
            self._request(report)

    def report_request(
        self, target: tuple[str, int], verdict: str, what: tuple[str, str], reason: str, secrets: Sequence[str]
    ) -> str:
        """Report an HTTP request, `what` is its method and path, that is about to be passed on or refused.

        `secrets` are the names of those that would be put into it. For an allowed request return "", or why it must not
        be passed on. For a refused one return a text that the guest reads with the reason. Without a supervisor the
        report is only logged, and this does not wait for an answer.
        """
        report = {"do": "report_request", "address": target[0], "port": target[1], "verdict": verdict}
        report |= {"method": what[0], "path": what[1], "reason": reason, "secrets": list(secrets)}
        if not self._supervised:
            with suppress(ChannelClosed):
                send_message(self._channel, report)
            return ""
        try:
            return str(self._request(report)[0]["text"])
        except Denied as error:
            return str(error)

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal:
        """Return whether a request to a model may be sent; without an answer it may not."""
        try:
            reply, _ = self._request({"do": "model_request", "request": request.to_json()})
            return verdict_from_json(reply)
        except (Denied, ValueError) as error:
            return ModelRefusal(f"its budget is not known: {error}")

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        """Report what a request to a model has used at its end; does not wait for an answer."""
        report = {"do": "model_usage", "reservation": reservation, "usage": usage.to_json()}
        with suppress(ChannelClosed):
            send_message(self._channel, report)

    def _request(self, message: Mapping[str, Any]) -> tuple[Message, Sequence[int]]:
        try:
            reply, descriptors = request(self._channel, message, seconds=_DEADLINE)
        except NoAnswer as error:
            raise Denied("too many requests are open at once") from error
        except ChannelClosed as error:
            raise Denied(str(error)) from error
        if "refused" in reply:
            close_all(descriptors)
            raise (Unreachable if reply.get("failed") else Denied)(str(reply["refused"]))
        return reply, descriptors
