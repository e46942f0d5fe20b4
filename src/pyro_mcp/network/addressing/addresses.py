"""Which addresses a machine may ever reach, and those of its own small network."""

from __future__ import annotations

import ipaddress
from enum import Enum

from pyro_mcp.network.addressing.routes import Address

GUEST_ADDRESS = "10.0.2.15"
GATEWAY_ADDRESS = "10.0.2.2"
RESOLVER_ADDRESS = "10.0.2.3"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

STAND_INS = ipaddress.IPv4Network("198.18.0.0/15")
"""Addresses that stand for names inside a machine: nothing else has them (RFC 2544)."""


class Standing(Enum):
    """Who may reach an address: everybody, only who was allowed that very address, or nobody."""

    PUBLIC = "public"
    LISTED = "listed"
    NEVER = "never"


# IANA's special-purpose address registries, and what clouds make of them.
_V4 = [
    ("0.0.0.0/8", Standing.NEVER, "is this host's own network"),
    ("127.0.0.0/8", Standing.NEVER, "is the host's loopback"),
    ("169.254.0.0/16", Standing.NEVER, "is link-local, where metadata services are"),
    ("192.0.0.0/24", Standing.NEVER, "is reserved for protocols"),
    ("192.0.2.0/24", Standing.NEVER, "is for documents only"),
    ("198.51.100.0/24", Standing.NEVER, "is for documents only"),
    ("203.0.113.0/24", Standing.NEVER, "is for documents only"),
    ("192.88.99.0/24", Standing.NEVER, "is a relay for other addresses"),
    ("198.18.0.0/15", Standing.NEVER, "stands for no name that this machine has asked for"),
    ("224.0.0.0/4", Standing.NEVER, "is multicast"),
    ("240.0.0.0/4", Standing.NEVER, "is reserved"),
    ("100.100.100.200/32", Standing.NEVER, "is a metadata service"),
    ("168.63.129.16/32", Standing.NEVER, "is a metadata service"),
    ("10.0.0.0/8", Standing.LISTED, "is private"),
    ("100.64.0.0/10", Standing.LISTED, "is private to a provider"),
    ("172.16.0.0/12", Standing.LISTED, "is private"),
    ("192.168.0.0/16", Standing.LISTED, "is private"),
]
_V6 = [
    ("fd00:ec2::/32", Standing.NEVER, "is a metadata service"),
    ("fd20:ce::/32", Standing.NEVER, "is a metadata service"),
    ("fc00::/7", Standing.LISTED, "is private"),
    ("2001::/23", Standing.NEVER, "is reserved for protocols"),
    ("2001:db8::/32", Standing.NEVER, "is for documents only"),
    ("3fff::/20", Standing.NEVER, "is for documents only"),
    ("2000::/3", Standing.PUBLIC, ""),
    ("fe80::/10", Standing.NEVER, "is link-local"),
    ("::1/128", Standing.NEVER, "is the host's loopback"),
    ("ff00::/8", Standing.NEVER, "is multicast"),
    ("::/0", Standing.NEVER, "is reserved"),
]
_V4_TABLE = [(ipaddress.IPv4Network(network), standing, why) for network, standing, why in _V4]
_V6_TABLE = [(ipaddress.IPv6Network(network), standing, why) for network, standing, why in _V6]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")


def standing_of(address: Address) -> tuple[Standing, str]:
    """Who may reach `address`, and what it is when that is not everybody.

    An IPv6 address that leads to an IPv4 one counts as that one.
    """
    if isinstance(address, ipaddress.IPv4Address):
        found = next((row[1:] for row in _V4_TABLE if address in row[0]), (Standing.PUBLIC, ""))
    elif (inside := _embedded(address)) is not None:
        return standing_of(inside)
    else:
        found = next(row[1:] for row in _V6_TABLE if address in row[0])
    # Python's own list may be newer than ours; it is shorter in 3.11.
    return found if found[0] is not Standing.PUBLIC or address.is_global else (Standing.NEVER, "is reserved")


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to `address` end at."""
    number = int(address)
    if address.ipv4_mapped is not None or address in _NAT64:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if address in _6TO4:
        return ipaddress.IPv4Address(number >> 80 & 0xFFFFFFFF)
    return None


def private_block(network: Network) -> bool:
    """Whether all of `network` lies in one block that only who was allowed it may reach."""
    table = _V4_TABLE if network.version == 4 else _V6_TABLE
    return any(
        standing is Standing.LISTED and network.version == block.version and _inside(network, block)
        for block, standing, _ in table
    )


def _inside(network: Network, block: Network) -> bool:
    return network.network_address in block and network.prefixlen >= block.prefixlen
