"""QEMU in a cage: machines under KVM or by emulation (TCG), and the disks of every machine with a guest."""

from __future__ import annotations

from pyro_mcp.engine.qemu.accelerator import kvm_circumstances, kvm_fault
from pyro_mcp.engine.qemu.command_line import disk_nodes
from pyro_mcp.engine.qemu.disk_files import prepare_disks
from pyro_mcp.engine.qemu.late_disks import attach_disks
from pyro_mcp.engine.qemu.running_disk import merge_layers, resume_if_full, switch_layer
from pyro_mcp.engine.qemu.starter import QemuStarter
from pyro_mcp.engine.qemu.system_calls import storage_filter

__all__ = [
    "QemuStarter",
    "attach_disks",
    "disk_nodes",
    "kvm_circumstances",
    "kvm_fault",
    "merge_layers",
    "prepare_disks",
    "resume_if_full",
    "storage_filter",
    "switch_layer",
]
