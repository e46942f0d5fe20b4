"""Requests to the kernel by rtnetlink(7)."""

from __future__ import annotations

import os
import socket
import struct

HEADER_SIZE = 16
"""Bytes of `struct nlmsghdr`, with which a reply begins."""
_ERROR = 2
_MOST_BYTES = 8192


def request(kind: int, flags: int, body: bytes) -> bytes:
    """Return the kernel's reply to one request; raises the `OSError` that it answers with."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.sendall(struct.pack("=IHHII", HEADER_SIZE + len(body), kind, flags, 1, 0) + body)
        reply = kernel.recv(_MOST_BYTES)
    if struct.unpack_from("=H", reply, 4)[0] == _ERROR:
        code = -struct.unpack_from("=i", reply, HEADER_SIZE)[0]
        if code:
            raise OSError(code, os.strerror(code))
    return reply


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(message: bytes, offset: int) -> dict[int, bytes]:
    """Return the attributes of a reply that begin at `offset`."""
    end, found = min(len(message), struct.unpack_from("=I", message)[0]), {}
    while offset + 4 <= end:
        size, kind = struct.unpack_from("=HH", message, offset)
        found[kind & 0x3FFF] = message[offset + 4 : offset + size]
        offset += max(4, size + 3 & ~3)
    return found
