"""The harness of a role, by the moot.toml of the project."""

from __future__ import annotations

from moot.config import find_config
from moot.harness import Harness, harness_named
from moot.known_words import DEFAULT_HARNESS


def harness_of(role: str) -> Harness:
    """Return the harness that runs the agent of a role, the default one when moot.toml does not say."""
    config = find_config()
    agent = config.agents.get(role) if config else None
    return harness_named(agent.harness if agent else DEFAULT_HARNESS)
