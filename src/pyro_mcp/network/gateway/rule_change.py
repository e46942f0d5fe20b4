"""The change of the rules of a running gateway, by its policy process."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.network.channel.messages import ChannelClosed, close_all
from pyro_mcp.network.channel.requests import request
from pyro_mcp.network.policy.allow_list import WEB_PORTS
from pyro_mcp.network.policy.decisions import Policy
from pyro_mcp.network.policy.rules import Rules

_SECONDS = 10.0


@dataclass(frozen=True)
class StartedWith:
    """The fixed settings of a running gateway: the rules of its start, and the hosts for which it has certificates."""

    rules: Rules
    certificates: Collection[str]
    has_proxy: bool

    def check(self, rules: Rules) -> None:
        """Raise `InvalidRequest` for rules that need a new gateway."""
        if rules.published != self.rules.published:
            raise InvalidRequest("the publishing of ports cannot change while the gateway runs", hint=_HINT)
        for host in rules.terminated_hosts:
            if host not in self.certificates:
                raise InvalidRequest(
                    f"TLS to {host} does not end at this gateway, so its requests cannot be limited while it runs",
                    hint=f"allow the whole host, or {_HINT}",
                )
        if rules.is_special and not self.has_proxy:
            raise InvalidRequest("this gateway reads no requests, so it cannot begin to while it runs", hint=_HINT)
        for port in rules.special_ports - self.rules.special_ports - WEB_PORTS:
            raise InvalidRequest(
                f"this gateway reads no requests at port {port}, and cannot begin to while it runs", hint=_HINT
            )


_HINT = "start the gateway with these rules"


class RuleChange:
    """The change to new rules, in `policy` and in the relay process at the other end of `channel`."""

    def __init__(self, policy: Policy, channel: socket.socket, started_with: StartedWith) -> None:
        self._policy = policy
        self._channel = channel
        self._started_with = started_with
        self._lock = threading.Lock()

    def set_rules(self, rules: Rules, settings: int) -> None:
        """Decide by `rules` from now on, and end every open connection about which they decide otherwise.

        `settings` is the descriptor of a file of `memory_file` with the same rules, for the relay process.
        Raises `InvalidRequest` for rules that need a new gateway; the present rules stay then. If the relay process
        does not take the new rules, this process ends, and the guest has no network.
        """
        with self._lock:
            self._started_with.check(rules)
            old = self._policy.exchange_rules(rules)
            try:
                open_targets = self._tell_relay(settings)
                revoked = [one for one in open_targets if self._policy.is_revoked(old, one)]
                request(self._channel, {"do": "cut", "targets": revoked}, seconds=_SECONDS)
            except (ChannelClosed, KeyError, TypeError, ValueError):
                os._exit(1)

    def _tell_relay(self, settings: int) -> list[tuple[str, int, str, str]]:
        """Give the relay process the rules; return the targets that it has connections to."""
        reply, descriptors = request(self._channel, {"do": "rules"}, [settings], seconds=_SECONDS)
        close_all(descriptors)
        return [(str(address), int(port), str(kind), str(peer)) for address, port, kind, peer in reply["open"]]
