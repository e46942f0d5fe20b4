"""The settings of the agent's program, and the hooks that report its state."""

from __future__ import annotations

from collections.abc import Mapping

from claude_bottle.backend.interface import TREE
from claude_bottle.backend.smolmachines import smolvm as _smolvm
from claude_bottle.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from claude_bottle.backend.smolmachines.guest import SmolGuest
from claude_bottle.harness import GuestPaths
from claude_bottle.provision.harness import provision_harness


def provision_supervise(
    plan: SmolmachinesBottlePlan, machine_name: str, environ: Mapping[str, str], prompt_path: str | None
) -> None:
    """Write what the harness needs into the machine; `environ` has the agent's variables."""
    guest = SmolGuest(_smolvm, machine_name)
    paths = GuestPaths(home=guest.home, tree=TREE, prompt_path=prompt_path, environ=environ)
    provision_harness(guest, plan.spec, paths)
