"""The addresses that a guest may reach at all, and the addresses of its own network."""

from __future__ import annotations

import ipaddress
from enum import Enum

from pyro_mcp.network.addressing.routes import Address

GUEST_ADDRESS = "10.0.2.15"
"""The guest's address, the same for every guest: each has a network namespace of its own."""
GATEWAY_ADDRESS = "10.0.2.2"
"""The guest's default route."""
RESOLVER_ADDRESS = "10.0.2.3"
"""The guest's name server."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FAKE_IPS = ipaddress.IPv4Network("198.18.0.0/15")
"""The addresses that stand for names in a guest; nothing else uses them (RFC 2544)."""


class AddressScope(Enum):
    """Which guests may reach an address: all, those with an entry for that very address, or none."""

    PUBLIC = "public"
    PRIVATE = "private"
    FORBIDDEN = "forbidden"


# IANA's special-purpose address registries, and the metadata services of clouds.
_V4 = [
    ("0.0.0.0/8", AddressScope.FORBIDDEN, "is this host's own network"),
    ("127.0.0.0/8", AddressScope.FORBIDDEN, "is the host's loopback"),
    ("169.254.0.0/16", AddressScope.FORBIDDEN, "is link-local, where metadata services are"),
    ("192.0.0.0/24", AddressScope.FORBIDDEN, "is reserved for protocols"),
    ("192.0.2.0/24", AddressScope.FORBIDDEN, "is for documentation only"),
    ("198.51.100.0/24", AddressScope.FORBIDDEN, "is for documentation only"),
    ("203.0.113.0/24", AddressScope.FORBIDDEN, "is for documentation only"),
    ("192.88.99.0/24", AddressScope.FORBIDDEN, "is a relay for other addresses"),
    ("198.18.0.0/15", AddressScope.FORBIDDEN, "stands for no name that this guest has looked up"),
    ("224.0.0.0/4", AddressScope.FORBIDDEN, "is multicast"),
    ("240.0.0.0/4", AddressScope.FORBIDDEN, "is reserved"),
    ("100.100.100.200/32", AddressScope.FORBIDDEN, "is a metadata service"),
    ("168.63.129.16/32", AddressScope.FORBIDDEN, "is a metadata service"),
    ("10.0.0.0/8", AddressScope.PRIVATE, "is private"),
    ("100.64.0.0/10", AddressScope.PRIVATE, "is private to a provider"),
    ("172.16.0.0/12", AddressScope.PRIVATE, "is private"),
    ("192.168.0.0/16", AddressScope.PRIVATE, "is private"),
]
_V6 = [
    ("fd00:ec2::/32", AddressScope.FORBIDDEN, "is a metadata service"),
    ("fd20:ce::/32", AddressScope.FORBIDDEN, "is a metadata service"),
    ("fc00::/7", AddressScope.PRIVATE, "is private"),
    ("2001::/23", AddressScope.FORBIDDEN, "is reserved for protocols"),
    ("2001:db8::/32", AddressScope.FORBIDDEN, "is for documentation only"),
    ("3fff::/20", AddressScope.FORBIDDEN, "is for documentation only"),
    ("2000::/3", AddressScope.PUBLIC, ""),
    ("fe80::/10", AddressScope.FORBIDDEN, "is link-local"),
    ("::1/128", AddressScope.FORBIDDEN, "is the host's loopback"),
    ("ff00::/8", AddressScope.FORBIDDEN, "is multicast"),
    ("::/0", AddressScope.FORBIDDEN, "is reserved"),
]
_V4_TABLE = [(ipaddress.IPv4Network(network), scope, description) for network, scope, description in _V4]
_V6_TABLE = [(ipaddress.IPv6Network(network), scope, description) for network, scope, description in _V6]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")


def scope_of(address: Address) -> tuple[AddressScope, str]:
    """Return the scope of `address`, and its description unless it is public.

    An IPv6 address with an IPv4 address embedded has the scope of that one.
    """
    if isinstance(address, ipaddress.IPv4Address):
        found = next((row[1:] for row in _V4_TABLE if address in row[0]), (AddressScope.PUBLIC, ""))
    elif (embedded := _embedded(address)) is not None:
        return scope_of(embedded)
    else:
        found = next(row[1:] for row in _V6_TABLE if address in row[0])
    # Python's own list may be newer than ours; it is shorter in 3.11.
    return (
        found if found[0] is not AddressScope.PUBLIC or address.is_global else (AddressScope.FORBIDDEN, "is reserved")
    )


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address to which packets for `address` are translated."""
    number = int(address)
    if address.ipv4_mapped is not None or address in _NAT64:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if address in _6TO4:
        return ipaddress.IPv4Address(number >> 80 & 0xFFFFFFFF)
    return None


def private_block(network: Network) -> bool:
    """Return whether all of `network` lies in one private block."""
    table = _V4_TABLE if network.version == 4 else _V6_TABLE
    return any(
        scope is AddressScope.PRIVATE and network.version == block.version and _contains(block, network)
        for block, scope, _ in table
    )


def _contains(block: Network, network: Network) -> bool:
    return network.network_address in block and network.prefixlen >= block.prefixlen
