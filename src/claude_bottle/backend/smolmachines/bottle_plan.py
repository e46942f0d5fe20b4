"""The plan of a launch in a machine of smolvm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claude_bottle.backend.interface import BottlePlan


@dataclass(frozen=True, kw_only=True)
class SmolmachinesBottlePlan(BottlePlan):
    """What every plan has, and the machine: its name, its network, and the packed machine that it is made from.

    The machine's process runs in a network namespace, in which it has the address `bundle_ip` of `bundle_subnet`; its
    only neighbour is the egress gateway at `bundle_gateway`. Without `agent_from_path` it is made from the image of
    the bottle's environment.
    """

    bundle_subnet: str
    bundle_gateway: str
    bundle_ip: str
    machine_name: str
    agent_from_path: Path | None
