"""The network that the workspaces of a server have by default, and may have at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyro_mcp.core import POLICIES, NetworkPolicy
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import Hint, Verb


def _ask(**more: object) -> Hint:
    """Return the advice to ask the user, who sets the bounds where the server is connected."""
    return Hint("ask the user to allow it with {}", Verb("host connect", host="HOST", network_policy="egress", **more))


def _host(entry: object) -> object:
    """Return the host of an entry of an allow list; its methods and paths only allow less than the host alone."""
    return entry.get("host") if isinstance(entry, Mapping) else entry


@dataclass(frozen=True)
class Reach:
    """A ceiling that the user has set; without one (`policy` is None) every call may choose.

    Raises `InvalidRequest` for a policy or a host that there is not.
    """

    policy: str | None = None
    allow_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.policy is not None:
            NetworkPolicy(self.policy, self.allow_hosts)

    def __str__(self) -> str:
        if self.policy in (None, POLICIES[0]):
            return "Workspaces have no network."
        return f"Workspaces reach {', '.join(self.allow_hosts) or 'public hosts'}."

    def of_workspace(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the network options of a new workspace; raise `InvalidRequest` for more than the limit."""
        self._check_upstreams(given)
        if self.policy is None:
            return dict(given)
        policy = given.get("network_policy", self.policy)
        if policy in POLICIES and POLICIES.index(policy) > POLICIES.index(self.policy):
            raise InvalidRequest(f"workspaces of this server may have the network {self.policy!r} at most", hint=_ask())
        hosts = given.get("allow_hosts") or (self.allow_hosts if policy != POLICIES[0] else ())
        if self.allow_hosts:
            beyond = [host for host in hosts if host not in self.allow_hosts and _host(host) not in self.allow_hosts]
        else:  # every public host, and no private address, which only an entry with that address would allow
            beyond = NetworkPolicy(self.policy, tuple(hosts)).allowed_networks if hosts else []
        if beyond:
            raise InvalidRequest(
                f"workspaces of this server may not reach {', '.join(map(str, beyond))}, "
                f"only {', '.join(self.allow_hosts) or 'public hosts, by their names'}",
                hint=_ask(allow_hosts=["NAME"]),
            )
        return {"network_policy": policy, "allow_hosts": list(hosts)}

    def has(self, policy: str, allow_hosts: Sequence[object]) -> bool:
        """Return whether an existing workspace with this network reaches no more than a new one may."""
        if self.policy is None or policy == POLICIES[0]:
            return True
        if self.allow_hosts and not allow_hosts:  # every public host
            return False
        try:
            self.of_workspace({"network_policy": policy, "allow_hosts": allow_hosts})
        except InvalidRequest:
            return False
        return True

    def _check_upstreams(self, given: Mapping[str, Any]) -> None:
        """Raise `InvalidRequest` for a name that leads to a port of this host, which only the user can decide."""
        hosts = given.get("allow_hosts")
        hosts = hosts if isinstance(hosts, list | tuple) else ()
        if led := [_host(one) for one in hosts if isinstance(one, Mapping) and one.get("upstream") is not None]:
            raise InvalidRequest(
                f"no tool call can make {led[0]} lead to a port of this host",
                hint="ask the user to create the workspace with an upstream, by the command line or the SDK",
            )

    def check_machine(self, given: Mapping[str, Any]) -> None:
        """Raise `InvalidRequest` for a machine for one command, which reaches all public hosts, beyond the ceiling."""
        every_host = self.policy is None or (self.policy != POLICIES[0] and not self.allow_hosts)
        if given.get("network") and not every_host:
            raise InvalidRequest("machines for one command may have no network here", hint=_ask())
