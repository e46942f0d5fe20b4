"""The guest's DNS server: it parses a message, and the policy process decides."""

from __future__ import annotations

import socket

from pyro_mcp.network.channel.policy_client import Denied, PolicyClient
from pyro_mcp.network.dns import dns_message
from pyro_mcp.network.dns.upstream import read_exactly

_MOST_MESSAGES = 100
_IDLE_SECONDS = 10.0


class Resolver:
    """A DNS server that answers as `policy` decides."""

    def __init__(self, policy: PolicyClient) -> None:
        self._policy = policy

    def answer(self, message: bytes, *, udp: bool) -> bytes | None:
        """Return the reply to one message; None when it gets none."""
        try:
            question = dns_message.parse_question(message)
        except dns_message.Malformed:
            return dns_message.malformed_reply(message)
        try:
            code, records, reason = self._policy.resolve(question)
        except Denied as error:
            code, records, reason = dns_message.SERVER_FAILURE, [], str(error)
        return dns_message.reply(question, code, records, reason=reason, udp=udp)

    def serve_stream(self, sock: socket.socket) -> None:
        """Answer the messages of one TCP connection until it is idle; the caller closes it."""
        sock.settimeout(_IDLE_SECONDS)
        try:
            for _ in range(_MOST_MESSAGES):
                size = int.from_bytes(read_exactly(sock, 2))
                if size > dns_message.MOST_BYTES:
                    return
                reply = self.answer(read_exactly(sock, size), udp=False)
                if reply is None:
                    return
                sock.sendall(len(reply).to_bytes(2) + reply)
        except OSError:
            return
