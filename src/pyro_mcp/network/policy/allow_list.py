"""One entry of an allow list: as it is given and recorded, and parsed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import near_match
from pyro_mcp.network.addressing.addresses import AddressScope, Network, private_block, scope_of
from pyro_mcp.network.addressing.host_names import BadName, canonical_name
from pyro_mcp.network.addressing.routes import Address
from pyro_mcp.network.metering.values import APIS, Api
from pyro_mcp.network.policy.request_rule import ANY_REQUEST, RequestRule

WEB_PORTS = frozenset({80, 443})
"""The ports of an entry without a port."""
AllowGiven = str | Mapping[str, Any]
"""An entry as it is given: `"NAME[:PORT]"`, or a mapping with `host` and any of the other `_KEYS`."""
_HINT = "write NAME, *.SUFFIX, an address or a network, each with :PORT or :* for ports other than 80 and 443"
_FORM = '{"host": "NAME[:PORT]", "methods": ["GET"], "paths": ["/v1/*"], "upstream": "http://127.0.0.1:PORT"}'
_KEYS = ("host", "methods", "paths", "upstream", "meter")
SUPERVISOR: Final = "supervisor"
"""The upstream of a name to which the gateway's supervisor connects."""
Upstream = int | Literal["supervisor"]
"""What a name leads to instead of its own server: a port of this host's 127.0.0.1, or `SUPERVISOR`."""
_UPSTREAM = re.compile(r"http://(?:127\.0\.0\.1|localhost):([0-9]{1,5})/?", re.ASCII)


@dataclass(frozen=True)
class AllowedHost:
    """One entry of an allow list: a name, every name below a suffix, or a network; at `ports` (None for any)."""

    name: str = ""
    suffix: str = ""
    network: Network | None = None
    ports: frozenset[int] | None = WEB_PORTS
    datagrams: bool = False
    """Whether UDP is allowed too: only for an entry with a port."""
    requests: RequestRule = ANY_REQUEST
    """The HTTP requests that it allows."""
    upstream: Upstream | None = None
    """None for the name's own server."""
    meter: Api | None = None
    """The API of a model that the name serves, whose requests are counted."""

    @property
    def is_special(self) -> bool:
        """Whether the gateway must read the requests to it, or lead them elsewhere."""
        return bool(self.requests or self.upstream or self.meter)

    def has_name(self, name: str) -> bool:
        """Return whether it allows `name`; a suffix allows every name below it at any depth, but not itself."""
        return name == self.name if self.name else bool(self.suffix) and name.endswith(f".{self.suffix}")

    def has_address(self, address: Address) -> bool:
        """Return whether it allows `address`: a private one only when its whole network is private."""
        if self.network is None or address.version != self.network.version or address not in self.network:
            return False
        return scope_of(address)[0] is AddressScope.PUBLIC or private_block(self.network)

    def has_port(self, port: int, protocol: str) -> bool:
        """Return whether it allows `port` over "tcp" or "udp"; never QUIC, which encrypts the name of its target."""
        if protocol == "udp" and (not self.datagrams or port == 443):
            return False
        return self.ports is None or port in self.ports


def recorded_entry(given: AllowGiven) -> str | dict[str, Any]:
    """Return an entry as it is recorded: JSON in one form; raises `InvalidRequest` for what is no entry.

    A mapping that says no more than its host becomes that string.
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"an entry of an allow list must be text, or {_FORM}")
    for key in given:
        if key not in _KEYS:
            hint = near_match(str(key), _KEYS) or f"write {_FORM}"
            raise InvalidRequest(f"{str(key)!r} is not a key of an allow list's entries", hint=hint)
    host = given.get("host")
    if not isinstance(host, str):
        raise InvalidRequest('an entry of an allow list lacks its "host"', hint=f"write {_FORM}")
    found: dict[str, Any] = {"host": host}
    for key in ("methods", "paths"):
        if texts := _texts(host, key, given.get(key)):
            found[key] = texts
    if given.get("upstream") is not None:
        found["upstream"] = given["upstream"]
    if given.get("meter") is not None:
        found["meter"] = given["meter"]
    return found if len(found) > 1 else host


def _texts(host: str, key: str, given: object) -> list[str]:
    if given is None:
        return []
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        texts = [one for one in given if isinstance(one, str)]
        if texts and len(texts) == len(given):
            return texts
    raise InvalidRequest(f"the {key} of {host!r} must be a list of one or more texts", hint=f"write {_FORM}")


def parse_entry(given: AllowGiven) -> AllowedHost:
    """Parse one entry of an allow list; raises `InvalidRequest`."""
    entry = recorded_entry(given)
    if isinstance(entry, str):
        return _parse_host(entry)
    parsed = _parse_host(entry["host"])
    rule = RequestRule(tuple(entry.get("methods", ())), tuple(entry.get("paths", ())))
    if not parsed.name:
        raise InvalidRequest(
            f"{entry['host']!r} cannot have methods, paths, an upstream or a meter",
            hint="these need the full name of one host: no pattern, address or network",
        )
    if parsed.ports is None:
        raise InvalidRequest(
            f"{entry['host']!r} cannot have methods, paths, an upstream or a meter: it is for every port",
            hint="name one port, or leave it out for 80 and 443",
        )
    upstream = _upstream(entry["host"], entry["upstream"]) if "upstream" in entry else None
    meter = _meter(entry["host"], entry["meter"]) if "meter" in entry else None
    return replace(parsed, requests=rule, upstream=upstream, meter=meter, datagrams=False)


def _upstream(host: str, given: object) -> Upstream:
    if given == SUPERVISOR:
        return SUPERVISOR
    found = _UPSTREAM.fullmatch(given) if isinstance(given, str) else None
    port = int(found[1]) if found else 0
    if not 0 < port < 65536:
        raise InvalidRequest(
            f"the upstream of {host!r} is not a port of this host's 127.0.0.1",
            hint="write http://127.0.0.1:PORT; nothing else of this host can be an upstream",
        )
    return port


def _meter(host: str, given: object) -> Api:
    for api in APIS:
        if given == api:
            return api
    raise InvalidRequest(f"the meter of {host!r} is not known", hint=f"choose from {', '.join(APIS)}")


def _parse_host(text: str) -> AllowedHost:
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
        raise InvalidRequest(
            f"{host!r} is not a network: host bits are set, or it is misspelt",
            hint="write the first address of the network, for example 10.1.2.0/24",
        ) from None


def _check_network(text: str, network: Network) -> None:
    scope, description = scope_of(network.network_address)
    if scope is AddressScope.FORBIDDEN and network.prefixlen >= 8:
        raise InvalidRequest(f"{text!r} cannot be allowed: it {description}", hint=_HINT)
