"""The plan of a launch in a machine of smolvm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claude_bottle.backend.interface import BottlePlan


@dataclass(frozen=True, kw_only=True)
class SmolmachinesBottlePlan(BottlePlan):
    """The plan of a bottle in a machine of smolvm: the machine's name, its network and its packed machine.

    The machine's process runs in a network namespace. It has the address `bundle_ip` of `bundle_subnet` there; its only
    neighbour is the egress gateway at `bundle_gateway`. The machine is made from the packed machine `agent_from_path`,
    or without it from the image that the bottle's environment names.
    """

    bundle_subnet: str
    bundle_gateway: str
    bundle_ip: str
    machine_name: str
    agent_from_path: Path | None
