"""The engine that runs virtual machines: QEMU in a cage, with KVM or by emulation (TCG)."""

from __future__ import annotations

from pyro_mcp.engine.qemu.command_line import OUTPUT, disk_binds, disk_nodes
from pyro_mcp.engine.qemu.engine import QemuEngine
from pyro_mcp.engine.qemu.system_calls import storage_filter

__all__ = [
    "OUTPUT",
    "QemuEngine",
    "disk_binds",
    "disk_nodes",
    "storage_filter",
]
