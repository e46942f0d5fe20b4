"""The kernel's routes, by rtnetlink(7)."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import sys
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNICAST, LOCAL = 1, 2
_NEW_ROUTE, _GET_ROUTE, _GET_LINK, _ERROR = 24, 26, 18, 2
_REQUEST, _CREATE = 0x0001, 0x0405  # NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
_TABLE_LOCAL, _BOOT, _SCOPE_LINK, _SCOPE_HOST = 255, 3, 253, 254
_DESTINATION, _DEVICE, _GATEWAY, _MULTIPATH, _VIA = 1, 4, 5, 9, 18  # RTA_…
_MATCHED_ROUTE = 0x2000  # RTM_F_FIB_MATCH: the route of the table, not what it makes of one address
_BY_KERNEL = 2  # RTPROT_KERNEL: the route comes with a device's address
_POINT_TO_POINT = 0x10  # IFF_POINTOPOINT
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


@dataclass(frozen=True)
class Reach:
    """How packets of this host get to an address."""

    own: bool
    """Whether the host itself answers there; True also for what is no address of one host (a broadcast)."""
    on_link: int | None
    """The prefix length of the host's own network that the address is in, None if it is in none."""


def reach_of(address: Address) -> Reach:
    """Ask the kernel how it would send to `address` now.

    A network is the host's own if the kernel sends to its addresses directly. Behind a point-to-point device, such as a
    VPN's, that holds for the network of the device's own address only.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = struct.pack("=8BI", family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, _MATCHED_ROUTE)
    try:
        reply = _ask(_GET_ROUTE, _REQUEST, body + _attribute(_DESTINATION, address.packed))
        _, length, _, _, _, protocol, _, kind = struct.unpack_from("=8B", reply, 16)
        attributes = _attributes(reply, 16 + 12)
        if kind != UNICAST:
            return Reach(own=True, on_link=None)
        if length == 0 or attributes.keys() & {_GATEWAY, _MULTIPATH, _VIA}:
            return Reach(own=False, on_link=None)
        device = int.from_bytes(attributes.get(_DEVICE, b""), sys.byteorder)
        near = protocol == _BY_KERNEL or not _is_point_to_point(device)
        return Reach(own=False, on_link=length if near else None)
    except OSError as error:
        return Reach(own=error.errno not in _NO_WAY, on_link=None)  # when the kernel cannot say, it may be our own


def _is_point_to_point(device: int) -> bool:
    reply = _ask(_GET_LINK, _REQUEST, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, device, 0, 0))
    flags: int = struct.unpack_from("=I", reply, 16 + 8)[0]
    return bool(flags & _POINT_TO_POINT)


def _attributes(message: bytes, at: int) -> dict[int, bytes]:
    """The attributes of a netlink message that begin at `at`."""
    end, found = min(len(message), struct.unpack_from("=I", message)[0]), {}
    while at + 4 <= end:
        size, kind = struct.unpack_from("=HH", message, at)
        found[kind & 0x3FFF] = message[at + 4 : at + size]
        at += max(4, size + 3 & ~3)
    return found


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
