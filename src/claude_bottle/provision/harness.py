"""The settings and the kept login of the agent's program. Unlike an API key, the tokens of a login enter the guest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from claude_bottle.backend.interface import BottleSpec, Steps
from claude_bottle.guard.names import mcp_url
from claude_bottle.harness import GuestPaths, harness_of
from claude_bottle.logins import kept_login
from claude_bottle.provision.supervise import provision_supervise


def provision_harness(guest: Steps, spec: BottleSpec, paths: GuestPaths) -> None:
    """Write the files and links of the agent's harness into the guest, and its login if the agent has a kept one."""
    agent = spec.manifest.agent(spec.agent_name)
    harness = harness_of(agent)
    bottle = spec.manifest.bottle_of(spec.agent_name)
    paths = replace(paths, mcp_url=mcp_url(bottle), metered=bottle.budget is not None)
    files = harness.files(agent, paths)
    provision_supervise(guest, files, harness.links(paths))
    if agent.login:
        provision_login(guest, kept_login(spec.agent_name, harness.name).files, files)


def provision_login(guest: Steps, kept: Mapping[str, Mapping[str, Any]], files: Mapping[str, str]) -> None:
    """Write the `kept` files, by their paths below the home, so that only their owner can read them.

    Their keys are added to those of the harness's own `files` with the same path.
    """
    texts = {}
    for name, content in kept.items():
        path = f"{guest.home}/{name}"
        texts[path] = json.dumps({**json.loads(files.get(path, "{}")), **content})
    if texts:
        provision_supervise(guest, texts)
        guest.run(["chmod", "600", *texts])
