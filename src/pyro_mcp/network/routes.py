"""The kernel's routes, by rtnetlink(7)."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNICAST, LOCAL = 1, 2
_NEW_ROUTE, _GET_ROUTE, _ERROR = 24, 26, 2
_REQUEST, _CREATE = 0x0001, 0x0405  # NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
_TABLE_LOCAL, _BOOT, _SCOPE_LINK, _SCOPE_HOST = 255, 3, 253, 254
_DESTINATION, _DEVICE = 1, 4
_MOST_BYTES = 8192


def add_route(network: ipaddress.IPv4Network, device: str, kind: int) -> None:
    """Put a route by `device` into the table that is looked at first; raises `OSError`."""
    scope = _SCOPE_HOST if kind == LOCAL else _SCOPE_LINK
    body = struct.pack("=8BI", socket.AF_INET, network.prefixlen, 0, 0, _TABLE_LOCAL, _BOOT, scope, kind, 0)
    if network.prefixlen:
        body += _attribute(_DESTINATION, network.network_address.packed)
    _ask(_NEW_ROUTE, _CREATE, body + _attribute(_DEVICE, struct.pack("=I", socket.if_nametoindex(device))))


# No route; one that is prohibited; a black hole.
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})


def is_own(address: Address) -> bool:
    """Whether this host itself answers at `address`; True also for what is no address of one host (a broadcast)."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = struct.pack("=8BI", family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        reply = _ask(_GET_ROUTE, _REQUEST, body + _attribute(_DESTINATION, address.packed))
    except OSError as error:
        return error.errno not in _NO_WAY  # when the kernel cannot say, it may be our own
    return reply[16 + 7] != UNICAST


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


def _ask(kind: int, flags: int, body: bytes) -> bytes:
    """The kernel's answer; raises the `OSError` that it answers with."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.sendall(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        reply = kernel.recv(_MOST_BYTES)
    if struct.unpack_from("=H", reply, 4)[0] == _ERROR:
        code = -struct.unpack_from("=i", reply, 16)[0]
        if code:
            raise OSError(code, os.strerror(code))
    return reply
