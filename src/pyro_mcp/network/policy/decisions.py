"""Every decision about what a machine may reach; no packet of the machine's comes here."""

from __future__ import annotations

import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pyro_mcp.network.addressing.addresses import STAND_INS
from pyro_mcp.network.addressing.host_names import BadName, canonical_name, name_of_labels
from pyro_mcp.network.addressing.routes import Address
from pyro_mcp.network.dns import dns_message, upstream
from pyro_mcp.network.policy.log import NetworkLog, Noted
from pyro_mcp.network.policy.rules import Rules

STAND_IN_TTL = 60
"""Seconds that a machine may remember an answer; what it remembers is checked again whenever it is used."""
_MOST_NAMES = 4096
_KNOWN_SECONDS = 30.0
_INSPECTED = {80: "http", 443: "tls"}


class Refused(Exception):
    """The machine may not do that; the message says why, as far as it may know, `noted` what the log says."""

    def __init__(self, message: str, noted: str = "") -> None:
        super().__init__(message)
        self.noted = noted or message


_NOTHING_USABLE = "the name has no address that may be reached"
"""Said of every name that a machine cannot use, so that it learns nothing of the names that only this host knows."""


@dataclass(frozen=True)
class Answer:
    """What a question about a name gets: a code of `dns`, records, and why there are none."""

    code: int
    records: tuple[dns_message.ResourceRecord, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Target:
    """Where a connection goes: a name, or "" and a literal address; `inspect` is what must confirm the name first."""

    name: str
    address: str
    port: int
    protocol: str
    inspect: str = ""

    def noted(self, address: str | None = None) -> Noted:
        """How the log shows it; `address` is the one that it was connected to."""
        return Noted(self.protocol, self.name or None, address or (None if self.name else self.address), self.port)


class FakeIPs:
    """The addresses that stand for names; the name not used for longest makes room for a new one."""

    def __init__(self, most: int = _MOST_NAMES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._names: OrderedDict[str, int] = OrderedDict()
        self._by_number: dict[int, str] = {}
        # Another start than last time: an answer that a machine kept over a restart stands for nothing, not another.
        self._next = secrets.randbelow(STAND_INS.num_addresses)

    def of(self, name: str) -> str:
        """The address that stands for `name`, the same for as long as it is remembered."""
        with self._lock:
            if name not in self._names:
                if len(self._names) >= self._most:
                    _, oldest = self._names.popitem(last=False)
                    del self._by_number[oldest]
                self._names[name] = self._free()
                self._by_number[self._names[name]] = name
            self._names.move_to_end(name)
            return str(STAND_INS[self._names[name]])

    def _free(self) -> int:
        while True:
            self._next = (self._next + 1) % STAND_INS.num_addresses
            if self._next not in self._by_number and self._next & 0xFF not in (0, 0xFF):
                return self._next

    def name(self, address: Address) -> str | None:
        """The name that `address` stands for; None if it stands for none."""
        if address.version != 4 or address not in STAND_INS:
            return None
        with self._lock:
            name = self._by_number.get(int(address) - int(STAND_INS.network_address))
            if name is not None:
                self._names.move_to_end(name)
            return name


class Policy:
    """Decides by `rules`, and notes what it decided. `secret_hosts` are names whose HTTPS must end at the gateway.

    `look_up` finds the addresses of a name.
    """

    def __init__(
        self,
        rules: Rules,
        log: NetworkLog,
        secret_hosts: Collection[str] = (),
        look_up: Callable[[str], list[Address]] = upstream.addresses_of,
    ) -> None:
        self._rules = rules
        self._log = log
        self._secret_hosts = frozenset(secret_hosts)
        self._look_up = look_up
        self._stand_ins = FakeIPs()
        self._known: OrderedDict[str, tuple[float, list[Address]]] = OrderedDict()
        self._lock = threading.Lock()

    def resolve(self, labels: Sequence[bytes], kind: int) -> Answer:
        """Answer a machine's question; a name that is not allowed is asked of nobody."""
        if len(labels) > 1 and [label.lower() for label in labels[-2:]] == [b"in-addr", b"arpa"]:
            return self._resolve_pointer(labels, kind)
        noted = Noted("dns", b".".join(labels).decode("latin-1"))
        try:
            name = name_of_labels(labels)
            if not self._rules.allows_name(name):
                raise Refused("not in the allow list")
            if kind == dns_message.A:
                self._usable(name)
                return Answer(
                    0, (dns_message.ResourceRecord(tuple(labels), dns_message.A, STAND_IN_TTL, self._stand_in(name)),)
                )
            return Answer(0, tuple(self._others(name, kind)))
        except (BadName, Refused) as error:
            self._log.note("refused", noted, error.noted if isinstance(error, Refused) else str(error))
            return Answer(dns_message.NO_SUCH_NAME, why=str(error))
        except upstream.LookupFailed as error:
            self._log.note("refused", noted, str(error))
            return Answer(dns_message.SERVER_FAILURE, why=str(error))

    def _stand_in(self, name: str) -> bytes:
        return ipaddress.IPv4Address(self._stand_ins.of(name)).packed

    def _others(self, name: str, kind: int) -> list[dns_message.ResourceRecord]:
        """Records other than addresses.

        With an allow list there are none, so that no question is a message out. Without one, a record that names a host
        passes if that host has a public address, any other if `name` has one: what only this host's resolver knows,
        the records of internal zones, stays unknown.
        """
        if self._rules.allow or kind not in dns_message.FORWARDED:
            return []
        if kind not in dns_message.NAMING_HOSTS and not self._is_usable(name):
            return []
        found = upstream.records_of(name, kind)
        return [
            one for one in found if kind not in dns_message.NAMING_HOSTS or self._is_usable(dns_message.host_in(one))
        ]

    def _is_usable(self, name: str) -> bool:
        try:
            return bool(self._usable(canonical_name(name)))
        except (BadName, Refused, upstream.LookupFailed):
            return False

    def _resolve_pointer(self, labels: Sequence[bytes], kind: int) -> Answer:
        """The name of an address: of a stand-in the name it stands for, of any other none."""
        try:
            address = ipaddress.IPv4Address(b".".join(reversed(labels[:-2])).decode("ascii"))
        except ValueError:
            return Answer(dns_message.NO_SUCH_NAME)
        name = self._stand_ins.name(address)
        if name is None or kind != dns_message.PTR:
            return Answer(dns_message.NO_SUCH_NAME)
        data = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"
        return Answer(0, (dns_message.ResourceRecord(tuple(labels), dns_message.PTR, STAND_IN_TTL, data),))

    def target(self, address_text: str, port: int, protocol: str) -> Target:
        """Where a connection to that address goes; raises `Refused`, having noted it, if it may go nowhere."""
        address = ipaddress.ip_address(address_text)
        name = self._stand_ins.name(address)
        target = Target(name or "", address_text, port, protocol)
        if name is None:
            why = self._rules.why_not_literal(address, port, protocol)
        else:
            why = self._rules.why_not_name(name, port, protocol)
            if name in self._secret_hosts and port == 443:
                why = why or ("QUIC hides what it carries" if protocol == "udp" else "")
                target = Target(name, address_text, port, protocol, "swap")
            elif self._rules.allow and protocol == "tcp":
                target = Target(name, address_text, port, protocol, _INSPECTED.get(port, ""))
        if why:
            raise self.refusal(target, why)
        return target

    def refusal(self, target: Target, why: str) -> Refused:
        """A refusal, noted."""
        self._log.note("refused", target.noted(), why)
        return Refused(why)

    def addresses(self, target: Target) -> list[Address]:
        """Where to connect, best first; raises `Refused` if there is nothing that may be connected to."""
        if not target.name:
            return [ipaddress.ip_address(target.address)]
        try:
            return self._usable(target.name)
        except (Refused, upstream.LookupFailed) as error:
            noted = error.noted if isinstance(error, Refused) else str(error)
            self._log.note("refused", target.noted(), noted)
            raise Refused(str(error)) from None

    def connected(self, target: Target, address: Address, problem: str = "") -> None:
        """Note that a connection was allowed, and what became of it."""
        self._log.note("allowed", target.noted(str(address)), problem)

    def forget(self) -> None:
        """Ask anew for every name when it is next needed."""
        with self._lock:
            self._known.clear()

    def _usable(self, name: str) -> list[Address]:
        """The addresses of a name that the machine may be connected to, looked at anew each time."""
        try:
            reasons = {address: self._rules.why_never(address) for address in self._addresses(name)}
        except upstream.LookupFailed as error:
            if error.missing:
                raise Refused(_NOTHING_USABLE, str(error)) from None
            raise
        usable = [address for address, reason in reasons.items() if not reason]
        if not usable:
            raise Refused(_NOTHING_USABLE, next(iter(reasons.values()), "the name has no address"))
        return usable

    def _addresses(self, name: str) -> list[Address]:
        now = time.monotonic()
        with self._lock:
            since, addresses = self._known.get(name, (0.0, []))
        if addresses and now - since < _KNOWN_SECONDS:
            return addresses
        addresses = self._look_up(name)
        with self._lock:
            self._known[name] = (now, addresses)
            self._known.move_to_end(name)
            if len(self._known) > _MOST_NAMES:
                self._known.popitem(last=False)
        return addresses
