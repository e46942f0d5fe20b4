"""Messages between processes: one JSON object each, with descriptors beside it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

MOST_BYTES = 128 * 1024
_MOST_DESCRIPTORS = 8

Message = dict[str, Any]


class ChannelClosed(Exception):
    """The other side has ended, or has sent something that is not a message."""


def message_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a new channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def send_message(sock: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message; the descriptors stay open here. Raises `ChannelClosed`, also after the socket's timeout."""
    try:
        socket.send_fds(sock, [json.dumps(message).encode("ascii")], list(descriptors), socket.MSG_NOSIGNAL)
    except OSError as error:
        raise ChannelClosed(f"cannot send: {error.strerror}") from error


def receive_message(sock: socket.socket) -> tuple[Message, list[int]]:
    """Return the next message and its descriptors, which the caller closes. Raises `ChannelClosed`."""
    try:
        data, descriptors, flags, _ = socket.recv_fds(sock, MOST_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise ChannelClosed(f"cannot receive: {error.strerror}") from error
    try:
        message = json.loads(data) if data and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) else None
    except ValueError:
        message = None
    if not isinstance(message, dict):
        close_all(descriptors)
        raise ChannelClosed("the other side has ended")
    return message, descriptors


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
