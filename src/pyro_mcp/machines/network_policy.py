"""The network policy of a machine, as it is requested and recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.network import AllowGiven, Rules
from pyro_mcp.results import AllowEntry

OFF, EGRESS, PUBLISHED = "off", "egress", "egress+published-ports"
POLICIES = (OFF, EGRESS, PUBLISHED)


@dataclass(frozen=True)
class NetworkPolicy:
    """A machine's network: `policy` is one of `POLICIES`; `allow_hosts`, if any, are all that it may reach
    (see `Rules`).

    With `trust_host_ca` its programs trust the certificate authorities that this host trusts, with `host_mirrors` they
    get packages from the mirrors that this host's pip and npm use. `supervisor` is the socket of the process that
    records each decision of its gateway, see `pyro_mcp.network.Supervisor`; without it the gateway does not start.

    Raises `InvalidRequest` for an unknown policy, for an entry that names no host, and for hosts without network.
    """

    policy: str = OFF
    allow_hosts: tuple[AllowGiven, ...] = ()
    trust_host_ca: bool = False
    host_mirrors: bool = False
    supervisor: Path | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InvalidRequest(f"there is no network policy {self.policy!r}", hint=f"it is {', '.join(POLICIES)}")
        if self.allow_hosts and not self.on:
            raise InvalidRequest(
                "hosts are allowed for a machine without network",
                hint=Hint.joined(
                    Hint("add {}", Argument("network_policy", "egress")), "or leave out the hosts", separator=", "
                ),
            )
        if self.trust_host_ca and not self.on:
            raise InvalidRequest(
                "there is nothing to trust for a machine without network",
                hint=Hint("add {}", Argument("network_policy", "egress")),
            )
        if self.host_mirrors and not self.on:
            raise InvalidRequest(
                "a machine without network reaches no mirror", hint=Hint("add {}", Argument("network_policy", "egress"))
            )
        self._check_supervisor()
        object.__setattr__(self, "allow_hosts", self.rules().allow)

    def _check_supervisor(self) -> None:
        rules = self.rules()
        needing = (*rules.supervised_names, *rules.metered_hosts)
        if self.supervisor is None and needing:
            raise InvalidRequest(
                f"{needing[0]} needs a supervisor of the network, and there is none",
                hint="leave out its upstream or meter; only a program that uses the SDK can supervise a network",
            )
        if self.supervisor is not None and not self.on:
            raise InvalidRequest(
                "there is nothing to supervise for a machine without network",
                hint=Hint("add {}", Argument("network_policy", "egress")),
            )
        if self.supervisor is not None and not self.supervisor.is_absolute():
            raise InvalidRequest(
                "the supervisor of a network is the absolute path of a socket", hint="see listen_for_gateway"
            )

    @property
    def on(self) -> bool:
        """Whether there is a network at all."""
        return self.policy != OFF

    @property
    def allowed_networks(self) -> list[str]:
        """The entries of `allow_hosts` that are addresses or networks; only such an entry allows a private address."""
        entries = zip(self.allow_hosts, self.rules().entries, strict=True)
        return [str(given) for given, entry in entries if entry.network is not None]

    @property
    def listed(self) -> list[str | AllowEntry]:
        """The entries of `allow_hosts` in the form of results."""
        return [one if isinstance(one, str) else cast(AllowEntry, {**one}) for one in self.allow_hosts]

    def rules(self) -> Rules:
        """Return the rules for the machine's gateway."""
        return Rules(allow=self.allow_hosts, published=self.policy == PUBLISHED)


NO_NETWORK = NetworkPolicy()
