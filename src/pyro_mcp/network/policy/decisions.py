"""Every decision about what a guest may reach; no packet of the guest gets here."""

from __future__ import annotations

import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pyro_mcp.network.addressing.addresses import FAKE_IPS
from pyro_mcp.network.addressing.host_names import BadName, canonical_name, name_of_labels
from pyro_mcp.network.addressing.routes import Address
from pyro_mcp.network.dns import dns_message, upstream
from pyro_mcp.network.policy.allow_list import Upstream
from pyro_mcp.network.policy.decision_record import DecisionRecord, Supervising
from pyro_mcp.network.policy.log import Attempt, NetworkLog
from pyro_mcp.network.policy.refused import Refused
from pyro_mcp.network.policy.request_rule import shown_path
from pyro_mcp.network.policy.rules import Rules

FAKE_IP_TTL = 60
"""Seconds for which a guest may cache an answer; the address is checked again whenever the guest uses it."""
_MOST_NAMES = 4096
_CACHE_SECONDS = 30.0
_INSPECTED = {80: "http", 443: "tls"}
_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")

_NOTHING_USABLE = "the name has no address that may be reached"
"""The reason for every name that a guest cannot use, so that it learns nothing about the host's internal names."""


@dataclass(frozen=True)
class Answer:
    """The answer to a DNS question: response code, records, and the reason when there are none."""

    code: int
    records: tuple[dns_message.ResourceRecord, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Target:
    """The target of a connection: a name, or "" and a literal address.

    `inspect` says how the name must be confirmed: "tls", "http", "proxy" (by our HTTP proxy), or "" for not at all.
    `upstream` is what it leads to instead.
    """

    name: str
    address: str
    port: int
    protocol: str
    inspect: str = ""
    upstream: Upstream | None = None

    @property
    def connected_port(self) -> int:
        """The port to connect to."""
        return self.upstream if isinstance(self.upstream, int) else self.port

    def attempt(self, address: str | None = None) -> Attempt:
        """Return its entry for the log; `address` is the one that it was connected to."""
        literal = address or (None if self.name else self.address)
        return Attempt(self.protocol, self.name or None, literal, self.port, upstream=self.upstream)


@dataclass(frozen=True)
class HttpRequest:
    """An HTTP request as the relay process reports it: `refused` says why it is refused, "" for an allowed one.

    `secrets` are the names of those that are put into it.
    """

    method: str
    path: str
    refused: str = ""
    secrets: tuple[str, ...] = ()


class FakeIPs:
    """The fake addresses that stand for names in a guest; a new name replaces the least recently used one."""

    def __init__(self, most: int = _MOST_NAMES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._names: OrderedDict[str, int] = OrderedDict()
        self._by_number: dict[int, str] = {}
        # A random start: an answer that a guest cached before a restart must not stand for another name after it.
        self._next = secrets.randbelow(FAKE_IPS.num_addresses)

    def of(self, name: str) -> str:
        """Return the address that stands for `name`, the same for as long as the name is in use."""
        with self._lock:
            if name not in self._names:
                if len(self._names) >= self._most:
                    _, oldest = self._names.popitem(last=False)
                    del self._by_number[oldest]
                self._names[name] = self._free()
                self._by_number[self._names[name]] = name
            self._names.move_to_end(name)
            return str(FAKE_IPS[self._names[name]])

    def _free(self) -> int:
        while True:
            self._next = (self._next + 1) % FAKE_IPS.num_addresses
            if self._next not in self._by_number and self._next & 0xFF not in (0, 0xFF):
                return self._next

    def name(self, address: Address) -> str | None:
        """Return the name that `address` stands for, or None."""
        if address.version != 4 or address not in FAKE_IPS:
            return None
        with self._lock:
            name = self._by_number.get(int(address) - int(FAKE_IPS.network_address))
            if name is not None:
                self._names.move_to_end(name)
            return name


class Policy:
    """The decisions by `rules`, which it logs. HTTPS to `secret_hosts` must go through the TLS proxy.

    `look_up` returns the addresses of a name; they are cached for `cache_seconds`. `supervisor` records each
    decision.
    """

    def __init__(
        self,
        rules: Rules,
        log: NetworkLog,
        secret_hosts: Collection[str] = (),
        look_up: Callable[[str], list[Address]] = upstream.addresses_of,
        cache_seconds: float = _CACHE_SECONDS,
        *,
        supervisor: Supervising | None = None,
    ) -> None:
        self._rules = rules
        self._record = DecisionRecord(log, supervisor)
        self._supervisor = supervisor
        self._secret_hosts = frozenset(secret_hosts)
        self._look_up = look_up
        self._cache_seconds = cache_seconds
        self._fake_ips = FakeIPs()
        self._cached: OrderedDict[str, tuple[float, list[Address]]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def rules(self) -> Rules:
        """The present rules."""
        return self._rules

    def exchange_rules(self, rules: Rules) -> Rules:
        """Decide by other rules from now on; return the previous rules."""
        old, self._rules = self._rules, rules
        return old

    def is_revoked(self, old: Rules, connection: tuple[str, int, str, str]) -> bool:
        """Return whether the rules decide differently from `old` about an open connection; record a refusal.

        A connection is the address and port that the guest connected to, the protocol, and the address behind it.
        """
        address, port, protocol, peer = connection
        rules = self._rules
        now, reason = self._judge(rules, address, port, protocol)
        if not reason and peer and not now.upstream:
            reason = rules.address_refusal(ipaddress.ip_address(peer))
        if reason:
            self.refusal(now, f"{reason}; it was open until its rule was withdrawn")
            return True
        if not peer and not now.upstream and rules.networks != old.networks:
            return True  # nobody knows yet whether its address is still allowed
        before, _ = self._judge(old, address, port, protocol)
        return now != before or rules.reading(now.name, port) != old.reading(now.name, port)

    def resolve(self, labels: Sequence[bytes], kind: int) -> Answer:
        """Answer a guest's question; a name that is not allowed is not looked up."""
        if len(labels) > 1 and [label.lower() for label in labels[-2:]] == [b"in-addr", b"arpa"]:
            return self._resolve_pointer(labels, kind)
        attempt = Attempt("dns", b".".join(labels).decode("latin-1"))
        try:
            name = name_of_labels(labels)
            if not self._rules.allows_name(name):
                raise Refused("not in the allow list")
            if kind == dns_message.A:
                if not self._rules.is_local(name):
                    self._usable_addresses(name)
                return Answer(
                    0, (dns_message.ResourceRecord(tuple(labels), dns_message.A, FAKE_IP_TTL, self._fake_ip(name)),)
                )
            return Answer(0, tuple(self._other_records(name, kind)))
        except (BadName, Refused) as error:
            logged = error.logged if isinstance(error, Refused) else str(error)
            return Answer(dns_message.NO_SUCH_NAME, reason=str(self._refusal(attempt, str(error), logged)))
        except upstream.LookupFailed as error:
            return Answer(dns_message.SERVER_FAILURE, reason=str(self._refusal(attempt, str(error))))

    def _fake_ip(self, name: str) -> bytes:
        return ipaddress.IPv4Address(self._fake_ips.of(name)).packed

    def _other_records(self, name: str, kind: int) -> list[dns_message.ResourceRecord]:
        """Return records other than addresses.

        With an allow list there are none, so that a question cannot carry data out. Without one, a record that names a
        host passes if that host has a public address, and any other record if `name` has one: the records of internal
        zones, which only this host's resolver knows, stay unknown.
        """
        if self._rules.allow or kind not in dns_message.FORWARDED:
            return []
        if kind not in dns_message.NAMING_HOSTS and not self._has_usable_address(name):
            return []
        self._allow_question(name)
        found = upstream.records_of(name, kind)
        return [
            one
            for one in found
            if kind not in dns_message.NAMING_HOSTS or self._has_usable_address(dns_message.host_in(one))
        ]

    def _has_usable_address(self, name: str) -> bool:
        try:
            return bool(self._usable_addresses(canonical_name(name)))
        except (BadName, Refused, upstream.LookupFailed):
            return False

    def _resolve_pointer(self, labels: Sequence[bytes], kind: int) -> Answer:
        """Answer a reverse lookup: with the name of a fake address, and with nothing for any other address."""
        try:
            address = ipaddress.IPv4Address(b".".join(reversed(labels[:-2])).decode("ascii"))
        except ValueError:
            return Answer(dns_message.NO_SUCH_NAME)
        name = self._fake_ips.name(address)
        if name is None or kind != dns_message.PTR:
            return Answer(dns_message.NO_SUCH_NAME)
        data = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"
        return Answer(0, (dns_message.ResourceRecord(tuple(labels), dns_message.PTR, FAKE_IP_TTL, data),))

    def target(self, address: str, port: int, protocol: str) -> Target:
        """Return the target of a connection to that address; raises `Refused`, recorded already, if it is denied."""
        target, reason = self._judge(self._rules, address, port, protocol)
        if reason:
            raise self.refusal(target, reason)
        return target

    def _judge(self, rules: Rules, address_text: str, port: int, protocol: str) -> tuple[Target, str]:
        """Return the target of a connection, and why it is denied, "" if it is allowed."""
        address = ipaddress.ip_address(address_text)
        name = self._fake_ips.name(address)
        target = Target(name or "", address_text, port, protocol)
        if name is None:
            return target, rules.literal_refusal(address, port, protocol)
        reason = rules.name_refusal(name, port, protocol)
        if protocol == "tcp":
            inspection = self._inspection(rules, name, port)
            return Target(name, address_text, port, protocol, inspection, rules.upstream(name, port)), reason
        if name in self._secret_hosts and port == 443:
            return target, reason or "QUIC hides what it carries"
        return target, reason

    def _inspection(self, rules: Rules, name: str, port: int) -> str:
        """Return the `inspect` of a TCP connection to a name."""
        to_upstream = rules.upstream(name, port) is not None
        with_secrets = name in self._secret_hosts and (port == 443 or to_upstream)
        is_read = bool(rules.request_rules(name, port)) or rules.meter(name, port) is not None
        if with_secrets or is_read or (to_upstream and port in _INSPECTED):
            return "proxy"
        return _INSPECTED.get(port, "") if rules.allow else ""

    def refusal(self, target: Target, reason: str) -> Refused:
        """Record a refusal, and return it."""
        return self._refusal(target.attempt(), reason)

    def _refusal(self, attempt: Attempt, reason: str, logged: str = "") -> Refused:
        """Record a refusal for the reason `logged`; return it with the reason for the guest."""
        try:
            text = self._record.refused(attempt, logged or reason)
        except Refused as error:  # it is refused all the same
            text = str(error)
        return Refused(f"{reason}; {text}" if text else reason)

    def addresses(self, target: Target) -> list[Address]:
        """Return the addresses to connect to, best first; raises `Refused` if none is allowed."""
        if target.upstream:
            return [_LOOPBACK]
        if not target.name:
            return [ipaddress.ip_address(target.address)]
        try:
            return self._usable_addresses(target.name)
        except (Refused, upstream.LookupFailed) as error:
            logged = error.logged if isinstance(error, Refused) else str(error)
            raise self._refusal(target.attempt(), str(error), logged) from None

    def allow(self, target: Target, address: Address | None) -> None:
        """Record a connection that is about to be made to `address`; raises `Refused` when that fails."""
        self._record.allow(target.attempt(_text(address)))

    def connected(self, target: Target, address: Address | None, problem: str = "") -> None:
        """Log an allowed connection, and the problem if it failed."""
        self._record.begun(target.attempt(_text(address)), problem)

    def requested(self, address: str, port: int, request: HttpRequest) -> str:
        """Record an HTTP request over a connection to `address`.

        For an allowed request return "", or why it must not be passed on; for a refused one the supervisor's text.
        """
        name = self._fake_ips.name(ipaddress.ip_address(address)) or ""
        method, path = (shown_path(text) for text in (request.method, request.path))
        leads_to = self._rules.upstream(name, port)
        attempt = Attempt("http", name or None, None if name else address, port, method, path, leads_to)
        if request.refused:
            return self._record.refused(attempt, request.refused)
        try:
            if reason := self._secrets_refusal(request, name):
                return str(self._refusal(attempt, reason))
            self._record.allow(attempt)
        except Refused as error:
            return str(error)
        self._record.begun(attempt)
        return ""

    def _secrets_refusal(self, request: HttpRequest, name: str) -> str:
        if self._supervisor is None:
            return ""
        where = name, shown_path(request.method), shown_path(request.path)
        reasons = [self._supervisor.secret_use(secret, *where) for secret in request.secrets]
        return next(filter(None, reasons), "")

    def _usable_addresses(self, name: str) -> list[Address]:
        """Return the addresses of a name that the guest may be connected to; check them each time."""
        try:
            reasons = {address: self._rules.address_refusal(address) for address in self._addresses(name)}
        except upstream.LookupFailed as error:
            if error.missing:
                raise Refused(_NOTHING_USABLE, str(error)) from None
            raise
        usable = [address for address, reason in reasons.items() if not reason]
        if not usable:
            raise Refused(_NOTHING_USABLE, next(iter(reasons.values()), "the name has no address"))
        return usable

    def _allow_question(self, name: str) -> None:
        """Record that a name is about to be looked up, unless the allow list has it in full.

        The labels that a guest chooses itself reach the servers of the domain.
        """
        if not any(entry.name == name for entry in self._rules.entries):
            self._record.allow(Attempt("dns", name))

    def _addresses(self, name: str) -> list[Address]:
        now = time.monotonic()
        with self._lock:
            since, addresses = self._cached.get(name, (0.0, []))
        if addresses and now - since < self._cache_seconds:
            return addresses
        self._allow_question(name)
        addresses = self._look_up(name)
        with self._lock:
            self._cached[name] = (now, addresses)
            self._cached.move_to_end(name)
            if len(self._cached) > _MOST_NAMES:
                self._cached.popitem(last=False)
        return addresses


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)
