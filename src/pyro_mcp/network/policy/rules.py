"""The rules for what a guest may reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.network.addressing.addresses import AddressScope, scope_of
from pyro_mcp.network.addressing.routes import Address, reach_of
from pyro_mcp.network.metering.values import Api
from pyro_mcp.network.policy.allow_list import (
    SUPERVISOR,
    AllowedHost,
    AllowGiven,
    Upstream,
    parse_entry,
    recorded_entry,
)
from pyro_mcp.network.policy.request_rule import RequestRule

_MOST_ENTRIES = 512


@dataclass(frozen=True)
class Rules:
    """The rules of one guest: without `allow` it reaches every public address, otherwise only the entries.

    An entry is `NAME`, `*.SUFFIX`, an address or a network, each with `:PORT` or `:*` for ports other than 80 and 443;
    or a mapping with such a `host`. Its `methods` and `paths` limit the HTTP requests to that one host, whose TLS then
    ends at the gateway (see `RequestRule`); its `upstream` "http://127.0.0.1:PORT" makes the name lead to that port of
    this host, its `upstream` "supervisor" to what the gateway's supervisor connects it with. Its `meter` names the API
    of a model that it serves: the supervisor is asked about each request, and told what it has used. A request or
    connection is allowed if one entry allows it. `published` allows publishing ports of the guest. Raises
    `InvalidRequest` for an entry that nothing can match.
    """

    allow: tuple[AllowGiven, ...] = ()
    published: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", tuple(map(recorded_entry, self.allow)))
        if len(self.allow) > _MOST_ENTRIES:
            raise InvalidRequest(f"the allow list has {len(self.allow)} entries, at most {_MOST_ENTRIES} are possible")
        self._check_upstreams()
        self._check_meters()

    @cached_property
    def entries(self) -> tuple[AllowedHost, ...]:
        """The parsed allow list."""
        return tuple(map(parse_entry, self.allow))

    def _check_upstreams(self) -> None:
        for entry in self.entries:
            for port in entry.ports or () if entry.upstream else ():
                others = [one for one in self.entries if one.has_name(entry.name) and one.has_port(port, "tcp")]
                if any(one.requests and not one.upstream for one in others):
                    raise InvalidRequest(
                        f"{entry.name}:{port} has an upstream, which an entry with methods or paths lacks",
                        hint="give that entry the same upstream: without one it limits nothing",
                    )
                if len({other.upstream for other in self._for_port(entry.name, port) if other.upstream}) > 1:
                    raise InvalidRequest(f"{entry.name}:{port} leads to two upstreams", hint="keep one")

    def _check_meters(self) -> None:
        metered = [entry for entry in self.entries if entry.meter]
        for entry in metered:
            others = [one for one in metered if one.name == entry.name and one.meter != entry.meter]
            if others and any(one.has_port(port, "tcp") for one in others for port in entry.ports or ()):
                raise InvalidRequest(f"{entry.name} has two meters", hint="keep one")

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

    def upstream(self, name: str, port: int) -> Upstream | None:
        """Return what a port of a canonical name leads to instead of its own server; None for nothing."""
        return next((entry.upstream for entry in self._for_port(name, port) if entry.upstream), None)

    def is_local(self, name: str) -> bool:
        """Return whether any port of a canonical name leads to an upstream, so that the name needs no address."""
        return any(entry.upstream and entry.has_name(name) for entry in self.entries)

    def request_rules(self, name: str, port: int) -> tuple[RequestRule, ...]:
        """Return the rules for requests to a port of a canonical name, any of which suffices; () for no limit."""
        rules = tuple(entry.requests for entry in self._for_port(name, port))
        return rules if all(rules) else ()

    def meter(self, name: str, port: int) -> Api | None:
        """Return the API that a port of a canonical name serves, if its requests are counted: one entry suffices."""
        found = (entry for entry in self.entries if entry.has_name(name) and entry.has_port(port, "tcp"))
        return next((entry.meter for entry in found if entry.meter), None)

    def reading(self, name: str, port: int) -> tuple[object, ...]:
        """Return how the gateway reads the requests to a port of a canonical name."""
        return self.request_rules(name, port), self.meter(name, port)

    @cached_property
    def metered_hosts(self) -> tuple[str, ...]:
        """The names whose requests the supervisor counts, which the gateway therefore needs."""
        return tuple(dict.fromkeys(entry.name for entry in self.entries if entry.meter))

    @cached_property
    def terminated_hosts(self) -> tuple[str, ...]:
        """The names whose TLS ends at the gateway, which needs a certificate for each: see `Authority`."""
        ended = [
            one for one in self.entries if one.requests or one.meter or (one.upstream and one.has_port(443, "tcp"))
        ]
        return tuple(dict.fromkeys(entry.name for entry in ended))

    @cached_property
    def supervised_names(self) -> tuple[str, ...]:
        """The names that lead to the supervisor, which the gateway therefore needs."""
        return tuple(dict.fromkeys(entry.name for entry in self.entries if entry.upstream == SUPERVISOR))

    @property
    def networks(self) -> list[str]:
        """The addresses and networks of the allow list."""
        return [str(entry.network) for entry in self.entries if entry.network is not None]

    @property
    def is_special(self) -> bool:
        """Whether any entry limits or counts requests, or has an upstream."""
        return bool(self.special_ports)

    @cached_property
    def special_ports(self) -> frozenset[int]:
        """The ports of entries that limit or count requests, or have an upstream."""
        special = [entry for entry in self.entries if entry.is_special]
        return frozenset(port for entry in special for port in entry.ports or ())

    def _for_port(self, name: str, port: int) -> list[AllowedHost]:
        """Return the entries that decide about a TCP port of a name: those with an upstream, if there are any."""
        found = [entry for entry in self.entries if entry.has_name(name) and entry.has_port(port, "tcp")]
        return [entry for entry in found if entry.upstream] or found

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
