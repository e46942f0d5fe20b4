"""The engine that runs virtual machines: QEMU in a cage, with KVM or by emulation (TCG)."""

from __future__ import annotations

from pyro_mcp.engine.qemu.engine import QemuEngine

__all__ = [
    "QemuEngine",
]
