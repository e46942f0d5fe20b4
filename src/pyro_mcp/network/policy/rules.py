"""What a machine may reach, as it was allowed."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.network.addressing.addresses import Network, Standing, private_block, standing_of
from pyro_mcp.network.addressing.host_names import BadName, canonical_name
from pyro_mcp.network.addressing.routes import Address, reach_of

WEB_PORTS = frozenset({80, 443})
"""The ports of an entry that names none."""
_HINT = "write NAME, *.SUFFIX, an address or a network, each with :PORT or :* for another port than 80 and 443"
_MOST_ENTRIES = 512


@dataclass(frozen=True)
class AllowedHost:
    """One thing that is allowed: a name, every name below a suffix, or a network; at `ports` (None for any)."""

    name: str = ""
    suffix: str = ""
    network: Network | None = None
    ports: frozenset[int] | None = WEB_PORTS
    datagrams: bool = False
    """Whether UDP too: only where a port was written."""

    def has_name(self, name: str) -> bool:
        """Whether it allows `name`; a suffix allows every name below it, however deep, but not itself."""
        return name == self.name if self.name else bool(self.suffix) and name.endswith(f".{self.suffix}")

    def has_address(self, address: Address) -> bool:
        """Whether it allows `address`: a private one only if all of the network is private, or it alone is meant."""
        if self.network is None or address.version != self.network.version or address not in self.network:
            return False
        return standing_of(address)[0] is Standing.PUBLIC or private_block(self.network)

    def has_port(self, port: int, protocol: str) -> bool:
        """Whether it allows `port` over "tcp" or "udp"; QUIC never, because nobody could see the name in it."""
        if protocol == "udp" and (not self.datagrams or port == 443):
            return False
        return self.ports is None or port in self.ports


@dataclass(frozen=True)
class Rules:
    """What a machine may reach: without `allow` every public address, else only its entries; may it publish ports.

    Raises `InvalidRequest` for an entry that names nothing reachable.
    """

    allow: tuple[str, ...] = ()
    published: bool = False

    def __post_init__(self) -> None:
        if len(self.allow) > _MOST_ENTRIES:
            raise InvalidRequest(f"{len(self.allow)} hosts are allowed, at most {_MOST_ENTRIES} can be")
        self.entries  # noqa: B018 - asking for them checks them

    @cached_property
    def entries(self) -> tuple[AllowedHost, ...]:
        """The allow list, taken apart."""
        return tuple(parse_entry(text) for text in self.allow)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` makes the same rules of."""
        return {"allow": list(self.allow), "published": self.published}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Rules:
        """The rules that `to_json` was asked of."""
        return cls(tuple(fields["allow"]), bool(fields["published"]))

    def allows_name(self, name: str) -> bool:
        """Whether a canonical name may be asked for."""
        return not self.allow or any(entry.has_name(name) for entry in self.entries)

    def why_not_name(self, name: str, port: int, protocol: str) -> str:
        """Why nothing may go to this port of a canonical name; "" when it may."""
        if not self.allow:
            return ""
        entries = [entry for entry in self.entries if entry.has_name(name)]
        return self._why_not(entries, port, protocol)

    def why_not_literal(self, address: Address, port: int, protocol: str) -> str:
        """Why nothing may go to this port of an address that was not asked for by name; "" when it may."""
        entries = [entry for entry in self.entries if entry.has_address(address)]
        if entries or self.allow:
            return self._why_not(entries, port, protocol) or self.why_never(address)
        return self.why_never(address)

    def why_never(self, address: Address) -> str:
        """Why nobody may connect to `address`, however it was found; "" when they may."""
        standing, why = standing_of(address)
        listed = any(entry.has_address(address) for entry in self.entries)
        if standing is Standing.NEVER or (standing is Standing.LISTED and not listed):
            return f"{address} {why}"
        reach = reach_of(address)
        if reach.own and not self._names_network(address, address.max_prefixlen):
            return f"{address} is the host's own address"
        near = standing is Standing.PUBLIC and reach.on_link is not None
        if near and not self._names_network(address, reach.on_link or 0):
            return f"{address} is in the host's own network"
        return ""

    def _names_network(self, address: Address, length: int) -> bool:
        """Whether an entry is a network around `address` of at least that prefix length."""
        networks = [entry.network for entry in self.entries if entry.network is not None]
        return any(one.prefixlen >= length and address.version == one.version and address in one for one in networks)

    def _why_not(self, entries: list[AllowedHost], port: int, protocol: str) -> str:
        if not entries:
            return "not in the allow list"
        if any(entry.has_port(port, protocol) for entry in entries):
            return ""
        if protocol == "udp" and port == 443:
            return "QUIC hides the name it is for"
        return f"{protocol} port {port} is not in the allow list"


def parse_entry(text: str) -> AllowedHost:
    """One entry of an allow list; raises `InvalidRequest`."""
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
        raise InvalidRequest(f"{text!r} names no port: it is 1–65535, or * for any", hint=_HINT)
    return frozenset({int(port)})


def _network(host: str) -> Network | None:
    try:
        return ipaddress.ip_network(host)
    except ValueError:
        if "/" not in host:
            return None
        raise InvalidRequest(f"{host!r} is not a network: bits of the host are set, or it is misspelt") from None


def _check_network(text: str, network: Network) -> None:
    standing, why = standing_of(network.network_address)
    if standing is Standing.NEVER and network.prefixlen >= 8:
        raise InvalidRequest(f"{text!r} cannot be allowed: it {why}", hint=_HINT)


@dataclass(frozen=True)
class HostSecret:
    """A secret that is only for one host: the machine sees `placeholder`; in the field `header` of HTTPS requests to
    `host`, `value` takes its place."""

    name: str
    placeholder: str
    value: str = field(repr=False)
    host: str
    header: str = "Authorization"
