"""The machine's only DNS server: it takes a message apart and lets the outer half decide."""

from __future__ import annotations

import socket

from pyro_mcp.network.channel.broker import Broker, Denied
from pyro_mcp.network.dns import dns_message
from pyro_mcp.network.dns.upstream import read_exactly

_MOST_MESSAGES = 100
_IDLE_SECONDS = 10.0


class Resolver:
    """Answers DNS messages with what `broker` says."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def answer(self, message: bytes, *, udp: bool) -> bytes | None:
        """The reply to one message; None for what deserves none."""
        try:
            question = dns_message.parse_question(message)
        except dns_message.Malformed:
            return dns_message.malformed_reply(message)
        try:
            code, records, why = self._broker.resolve(question)
        except Denied as error:
            code, records, why = dns_message.SERVER_FAILURE, [], str(error)
        return dns_message.reply(question, code, records, why=why, udp=udp)

    def serve_stream(self, line: socket.socket) -> None:
        """Answer the messages that come by one TCP connection, until it is idle; the caller closes it."""
        line.settimeout(_IDLE_SECONDS)
        try:
            for _ in range(_MOST_MESSAGES):
                size = int.from_bytes(read_exactly(line, 2))
                if size > dns_message.MOST_BYTES:
                    return
                reply = self.answer(read_exactly(line, size), udp=False)
                if reply is None:
                    return
                line.sendall(len(reply).to_bytes(2) + reply)
        except OSError:
            return
