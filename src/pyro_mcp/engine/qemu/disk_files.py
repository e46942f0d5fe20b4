"""The files of a machine's disks, as its cage shows them to the program that serves them."""

from __future__ import annotations

from pathlib import Path

from pyro_mcp.engine.cage import Bind
from pyro_mcp.engine.disks import BlankDisks, DiskLayers, give_to_machine
from pyro_mcp.engine.interface import StartRequest
from pyro_mcp.engine.qemu.command_line import BASELINE, BLANK, FROZEN, LIVE, OUTPUT, ROOT
from pyro_mcp.host.user_ids import machine_ids


def disk_binds(root: Path, blank: BlankDisks, layers: DiskLayers, baseline: Path | None = None) -> list[Bind]:
    """Return the files that `disk_nodes` names, except the output."""
    return [
        Bind(root, ROOT),
        Bind(blank.ext4, BLANK),
        Bind(layers.live, LIVE, writable=True),
        Bind(layers.frozen, FROZEN),
        Bind(baseline or blank.baseline, BASELINE),
    ]


def prepare_disks(request: StartRequest, root: Path, blank: BlankDisks) -> list[Bind]:
    """Put the disks of a machine in the places in which a start expects them; return all that `disk_nodes` names."""
    layers = DiskLayers(request.home)
    layers.prepare(request.layers, blank, new_disk=request.new_disk)
    binds = disk_binds(root, blank, layers, request.baseline)
    if request.output is not None:
        give_to_machine(machine_ids(request.home), request.output)
        binds.append(Bind(request.output, OUTPUT, writable=True))
    return binds
