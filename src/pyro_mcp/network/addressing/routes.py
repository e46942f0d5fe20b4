"""The kernel's routes, by rtnetlink(7)."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from dataclasses import dataclass

from pyro_mcp.network.addressing import netlink

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNICAST, LOCAL = 1, 2
_NEW_ROUTE, _GET_ROUTE, _GET_LINK = 24, 26, 18
_REQUEST, _CREATE = 0x0001, 0x0405  # NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
_TABLE_MAIN, _TABLE_LOCAL, _BOOT = 254, 255, 3
_SCOPE_ALL, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_DESTINATION, _DEVICE, _GATEWAY, _MULTIPATH, _VIA = 1, 4, 5, 9, 18  # RTA_…
_MATCHED_ROUTE = 0x2000  # RTM_F_FIB_MATCH: return the route as in the table, not the one for the single address
_BY_KERNEL = 2  # RTPROT_KERNEL: the route comes with a device's address
_POINT_TO_POINT = 0x10  # IFF_POINTOPOINT


def add_route(network: ipaddress.IPv4Network, device: str, kind: int) -> None:
    """Add a route by `device`, UNICAST or LOCAL, to the table that the kernel looks at first; raises `OSError`."""
    scope = _SCOPE_HOST if kind == LOCAL else _SCOPE_LINK
    body = struct.pack("=8BI", socket.AF_INET, network.prefixlen, 0, 0, _TABLE_LOCAL, _BOOT, scope, kind, 0)
    if network.prefixlen:
        body += netlink.attribute(_DESTINATION, network.network_address.packed)
    netlink.request(_NEW_ROUTE, _CREATE, body + _by(device))


def add_default_route(gateway: ipaddress.IPv4Address, device: str) -> None:
    """Send all packets that no other route takes to `gateway`, by `device`; raises `OSError`."""
    body = struct.pack("=8BI", socket.AF_INET, 0, 0, 0, _TABLE_MAIN, _BOOT, _SCOPE_ALL, UNICAST, 0)
    body += netlink.attribute(_GATEWAY, gateway.packed)
    netlink.request(_NEW_ROUTE, _CREATE, body + _by(device))


def _by(device: str) -> bytes:
    return netlink.attribute(_DEVICE, struct.pack("=I", socket.if_nametoindex(device)))


# No route, a prohibited one, or a black hole.
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})


@dataclass(frozen=True)
class Reach:
    """How this host sends packets to an address."""

    own: bool
    """Whether the address is the host's own; True also for an address of several hosts (a broadcast)."""
    on_link: int | None
    """The prefix length of the host's own network that holds the address; None if none does."""


def reach_of(address: Address) -> Reach:
    """Return how the kernel would send to `address` now.

    A network is the host's own if the kernel sends to its addresses directly. Behind a point-to-point device, such as a
    VPN's, only the network of the device's own address counts.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = struct.pack("=8BI", family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, _MATCHED_ROUTE)
    try:
        reply = netlink.request(_GET_ROUTE, _REQUEST, body + netlink.attribute(_DESTINATION, address.packed))
        _, length, _, _, _, protocol, _, kind = struct.unpack_from("=8B", reply, 16)
        attributes = netlink.attributes(reply, 16 + 12)
        if kind != UNICAST:
            return Reach(own=True, on_link=None)
        if length == 0 or attributes.keys() & {_GATEWAY, _MULTIPATH, _VIA}:
            return Reach(own=False, on_link=None)
        device = int.from_bytes(attributes.get(_DEVICE, b""), sys.byteorder)
        near = protocol == _BY_KERNEL or not _is_point_to_point(device)
        return Reach(own=False, on_link=length if near else None)
    except OSError as error:
        return Reach(own=error.errno not in _UNREACHABLE, on_link=None)  # otherwise unknown: assume the worst


def _is_point_to_point(device: int) -> bool:
    reply = netlink.request(_GET_LINK, _REQUEST, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, device, 0, 0))
    flags: int = struct.unpack_from("=I", reply, 16 + 8)[0]
    return bool(flags & _POINT_TO_POINT)
