"""Requests over a channel between processes, from any thread: each carries the socket for its answer."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_mcp.network.channel.messages import ChannelClosed, Message, message_pair, receive_message, send_message


class NoAnswer(ChannelClosed):
    """The error for a request that the other side got, but closed or did not answer in time."""


def request(
    channel: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = (), *, seconds: float
) -> tuple[Message, list[int]]:
    """Send a request; return its answer and the descriptors of that, which the caller closes. Raises `ChannelClosed`.

    The socket for the answer is the request's last descriptor.
    """
    ours, theirs = message_pair()
    with ours:
        with theirs:
            send_message(channel, message, [*descriptors, theirs.fileno()])
        ours.settimeout(seconds)
        try:
            return receive_message(ours)
        except ChannelClosed as error:
            raise NoAnswer(str(error)) from error
