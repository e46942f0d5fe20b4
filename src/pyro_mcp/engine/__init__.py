"""Engines: start, reach and end single machines.

`interface` defines the values and the protocol of an engine. This package's public names are those and what all engines
share. `guest` is the engine of machines with a guest; `qemu` and `uml` start them.
"""

from __future__ import annotations

from pyro_mcp.engine.accelerators import AUTO, REQUESTABLE, requested
from pyro_mcp.engine.cage import require_namespaces
from pyro_mcp.engine.disks import MOST_LAYERS, DiskLayers, make_baseline, make_ext4
from pyro_mcp.engine.freeze import GUEST_TOOL
from pyro_mcp.engine.guest_connection import Capture
from pyro_mcp.engine.guest_programs import session_binary, tool_binary
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
    Started,
    StartRequest,
    System,
)
from pyro_mcp.engine.sockets import MachineSockets

__all__ = [
    "AUTO",
    "BOOT_MODULES",
    "GUEST_TOOL",
    "MOST_LAYERS",
    "OUTPUT_CAP",
    "REQUESTABLE",
    "Capture",
    "Command",
    "Connection",
    "DiskLayers",
    "Engine",
    "HostCompat",
    "MachineSockets",
    "Outcome",
    "OutputSink",
    "Shape",
    "StartRequest",
    "Started",
    "System",
    "make_baseline",
    "make_ext4",
    "requested",
    "require_namespaces",
    "session_binary",
    "tool_binary",
]
