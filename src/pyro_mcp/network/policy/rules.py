"""The rules for what a guest may reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.network.addressing.addresses import AddressScope, Network, private_block, scope_of
from pyro_mcp.network.addressing.host_names import BadName, canonical_name
from pyro_mcp.network.addressing.routes import Address, reach_of

WEB_PORTS = frozenset({80, 443})
"""The ports of an entry without a port."""
_HINT = "write NAME, *.SUFFIX, an address or a network, each with :PORT or :* for ports other than 80 and 443"
_MOST_ENTRIES = 512


@dataclass(frozen=True)
class AllowedHost:
    """One entry of an allow list: a name, every name below a suffix, or a network; at `ports` (None for any)."""

    name: str = ""
    suffix: str = ""
    network: Network | None = None
    ports: frozenset[int] | None = WEB_PORTS
    datagrams: bool = False
    """Whether UDP is allowed too: only for an entry with a port."""

    def has_name(self, name: str) -> bool:
        """Return whether it allows `name`; a suffix allows every name below it at any depth, but not itself."""
        return name == self.name if self.name else bool(self.suffix) and name.endswith(f".{self.suffix}")

    def has_address(self, address: Address) -> bool:
        """Return whether it allows `address`: a private one only when its whole network is private."""
        if self.network is None or address.version != self.network.version or address not in self.network:
            return False
        return scope_of(address)[0] is AddressScope.PUBLIC or private_block(self.network)

    def has_port(self, port: int, protocol: str) -> bool:
        """Return whether it allows `port` over "tcp" or "udp"; never QUIC, which encrypts the name it is for."""
        if protocol == "udp" and (not self.datagrams or port == 443):
            return False
        return self.ports is None or port in self.ports


@dataclass(frozen=True)
class Rules:
    """The rules of one guest: without `allow` it reaches every public address, otherwise only the entries.

    An entry is `NAME`, `*.SUFFIX`, an address or a network, each with `:PORT` or `:*` for ports other than 80 and 443.
    `published` allows publishing ports of the guest. Raises `InvalidRequest` for an entry that nothing can match.
    """

    allow: tuple[str, ...] = ()
    published: bool = False

    def __post_init__(self) -> None:
        if len(self.allow) > _MOST_ENTRIES:
            raise InvalidRequest(f"the allow list has {len(self.allow)} entries, at most {_MOST_ENTRIES} are possible")
        self.entries  # noqa: B018 - parses and checks them

    @cached_property
    def entries(self) -> tuple[AllowedHost, ...]:
        """Return the parsed allow list."""
        return tuple(parse_entry(text) for text in self.allow)

    def to_json(self) -> dict[str, Any]:
        """Return the rules in the form that `from_json` reads."""
        return {"allow": list(self.allow), "published": self.published}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Rules:
        """Return the rules that `to_json` has written."""
        return cls(tuple(fields["allow"]), bool(fields["published"]))

    def allows_name(self, name: str) -> bool:
        """Return whether a canonical name may be looked up."""
        return not self.allow or any(entry.has_name(name) for entry in self.entries)

    def name_refusal(self, name: str, port: int, protocol: str) -> str:
        """Return why this port of a canonical name is denied; "" when it is allowed."""
        if not self.allow:
            return ""
        entries = [entry for entry in self.entries if entry.has_name(name)]
        return self._entries_refusal(entries, port, protocol)

    def literal_refusal(self, address: Address, port: int, protocol: str) -> str:
        """Return why this port of a literal address is denied; "" when it is allowed."""
        entries = [entry for entry in self.entries if entry.has_address(address)]
        if entries or self.allow:
            return self._entries_refusal(entries, port, protocol) or self.address_refusal(address)
        return self.address_refusal(address)

    def address_refusal(self, address: Address) -> str:
        """Return why connections to `address` are denied, by name too; "" when they are allowed."""
        scope, description = scope_of(address)
        listed = any(entry.has_address(address) for entry in self.entries)
        if scope is AddressScope.FORBIDDEN or (scope is AddressScope.PRIVATE and not listed):
            return f"{address} {description}"
        reach = reach_of(address)
        if reach.own and not self._names_network(address, address.max_prefixlen):
            return f"{address} is the host's own address"
        near = scope is AddressScope.PUBLIC and reach.on_link is not None
        if near and not self._names_network(address, reach.on_link or 0):
            return f"{address} is in the host's own network"
        return ""

    def _names_network(self, address: Address, length: int) -> bool:
        """Return whether an entry is a network around `address` with at least that prefix length."""
        networks = [entry.network for entry in self.entries if entry.network is not None]
        return any(
            network.prefixlen >= length and address.version == network.version and address in network
            for network in networks
        )

    def _entries_refusal(self, entries: list[AllowedHost], port: int, protocol: str) -> str:
        if not entries:
            return "not in the allow list"
        if any(entry.has_port(port, protocol) for entry in entries):
            return ""
        if protocol == "udp" and port == 443:
            return "QUIC hides the name it is for"
        return f"{protocol} port {port} is not in the allow list"


def parse_entry(text: str) -> AllowedHost:
    """Parse one entry of an allow list; raises `InvalidRequest`."""
    host, colon, port = _split(text)
    ports, datagrams = (_ports(text, port), True) if colon else (WEB_PORTS, False)
    network = _network(host)
    if network is not None:
        _check_network(text, network)
        return AllowedHost(network=network, ports=ports, datagrams=datagrams)
    try:
        if host.startswith("*."):
            return AllowedHost(suffix=canonical_name(host[2:]), ports=ports, datagrams=datagrams)
        return AllowedHost(name=canonical_name(host), ports=ports, datagrams=datagrams)
    except BadName as error:
        raise InvalidRequest(f"{text!r} cannot be allowed: {error}", hint=_HINT) from error


def _split(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest[:1], rest[1:]
    if text.count(":") > 1:
        return text, "", ""
    host, colon, port = text.partition(":")
    return host, colon, port


def _ports(text: str, port: str) -> frozenset[int] | None:
    if port == "*":
        return None
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise InvalidRequest(f"{text!r} has no valid port: it is 1–65535, or * for any", hint=_HINT)
    return frozenset({int(port)})


def _network(host: str) -> Network | None:
    try:
        return ipaddress.ip_network(host)
    except ValueError:
        if "/" not in host:
            return None
        raise InvalidRequest(f"{host!r} is not a network: host bits are set, or it is misspelt") from None


def _check_network(text: str, network: Network) -> None:
    scope, description = scope_of(network.network_address)
    if scope is AddressScope.FORBIDDEN and network.prefixlen >= 8:
        raise InvalidRequest(f"{text!r} cannot be allowed: it {description}", hint=_HINT)
