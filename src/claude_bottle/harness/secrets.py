"""The secrets of an agent: those of its bottle, and the API key of its harness if the bottle does not declare it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from claude_bottle.harness import harness_of

if TYPE_CHECKING:
    from claude_bottle.manifest import Manifest, SecretConfig


def all_secrets(manifest: Manifest, agent_name: str) -> Mapping[str, SecretConfig]:
    """Return the secrets of an agent by name, without values.

    The API key of its harness is one of them if the bottle declares it. It is one of them too if this host has the
    variable with the key, unless the agent has a kept login, which the harness would then not use.
    """
    found, key = dict(manifest.bottle_of(agent_name).secrets), implied_key(manifest, agent_name)
    if key is not None and key.env is not None and os.environ.get(key.env):
        found[key.env] = key
    return found


def implied_key(manifest: Manifest, agent_name: str) -> SecretConfig | None:
    """Return the API key that the agent gets from a host with its variable; None if the manifest rules that out."""
    from claude_bottle.manifest import SecretConfig  # noqa: PLC0415 - slow to import

    bottle, agent = manifest.bottle_of(agent_name), manifest.agent(agent_name)
    key = harness_of(agent).key if agent.login is None else None
    if key is None or key.variable in (*bottle.secrets, *bottle.env):
        return None
    return SecretConfig(env=key.variable, hosts=key.hosts, header=key.header)
