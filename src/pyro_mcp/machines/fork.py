"""Register a machine whose disk begins as the layers of another."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pyro_mcp.engine import DiskLayers
from pyro_mcp.machines.lifecycle import Lifecycle, new_layer_name
from pyro_mcp.machines.machine_store import MachineRecord
from pyro_mcp.machines.network_policy import NO_NETWORK, NetworkPolicy
from pyro_mcp.machines.phases import GUEST


def register_fork(
    lifecycle: Lifecycle,
    new_id: str,
    record: MachineRecord,
    layers: Sequence[str],
    *,
    ttl_seconds: float,
    one_shot: bool = False,
    network: NetworkPolicy = NO_NETWORK,
) -> MachineRecord:
    """Register a machine whose disk begins as `layers` of another; nothing of it is copied, nothing runs yet.

    The layers must not be written any more. Each machine's links keep the files alive for itself.
    """
    fresh = new_layer_name()
    # First the record, by which a repair knows what a killed process has left.
    made = lifecycle.create(
        new_id,
        record.environment,
        record.environment_version,
        record.shape,
        ttl_seconds=ttl_seconds,
        allow_host_compat=False,
        layers=(*layers, fresh),
        generation=record.generation,
        baseline=record.baseline,
        one_shot=one_shot,
        network=network,
        accelerator=record.requested_accelerator,
    )
    home, others = lifecycle.folders.home(new_id), lifecycle.folders.home(record.id)
    DiskLayers(home).adopt(DiskLayers(others), layers)
    lifecycle.engine_for(GUEST).add_layer(home, fresh)
    if (baseline := lifecycle.baseline(record)) is not None:
        os.link(baseline, lifecycle.folders.baseline(new_id))
    return made
