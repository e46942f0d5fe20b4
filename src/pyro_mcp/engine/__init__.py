"""Engines: start, reach and end single machines, which have no names and no history here.

`interface` is what every engine does. The face of this package holds only that, and what all engines share; an engine
of its own package, like `qemu`, is chosen in `pyro_mcp.core`.
"""

from __future__ import annotations

from pyro_mcp.engine.disks import MOST_LAYERS, Layers, make_baseline, make_ext4
from pyro_mcp.engine.freeze import TOOL
from pyro_mcp.engine.guest_connection import Capture
from pyro_mcp.engine.host_compat import HostCompat
from pyro_mcp.engine.initramfs import BOOT_MODULES
from pyro_mcp.engine.interface import (
    OUTPUT_CAP,
    Command,
    Connection,
    Engine,
    Outcome,
    OutputSink,
    Shape,
    StartRequest,
    System,
)
from pyro_mcp.engine.sockets import MachineSockets

__all__ = [
    "BOOT_MODULES",
    "MOST_LAYERS",
    "OUTPUT_CAP",
    "TOOL",
    "Capture",
    "Command",
    "Connection",
    "Engine",
    "HostCompat",
    "Layers",
    "MachineSockets",
    "Outcome",
    "OutputSink",
    "Shape",
    "StartRequest",
    "System",
    "make_baseline",
    "make_ext4",
]
