"""One microVM: no names, no history."""

from __future__ import annotations

from pyro_mcp.engine.accelerator import Accelerator
from pyro_mcp.engine.chain import MOST_LAYERS
from pyro_mcp.engine.disks import Layers, make_baseline, make_ext4
from pyro_mcp.engine.engine import Engine, Session
from pyro_mcp.engine.fake import FakeMachines
from pyro_mcp.engine.freeze import TOOL
from pyro_mcp.engine.guest import OUTPUT_CAP, Capture, Command, Outcome, OutputSink
from pyro_mcp.engine.host_compat import HostCompat
from pyro_mcp.engine.launch import Identity, end_found, find_processes, identify, kill, machines_below
from pyro_mcp.engine.machines import Machines, Preparation, Readiness, Start
from pyro_mcp.engine.qemu import Sockets
from pyro_mcp.engine.shape import BOOT_MODULES, Shape, System
from pyro_mcp.engine.wire import Decoder, Frame, encode, encode_fields

__all__ = [
    "BOOT_MODULES",
    "MOST_LAYERS",
    "OUTPUT_CAP",
    "TOOL",
    "Accelerator",
    "Capture",
    "Command",
    "Decoder",
    "Engine",
    "FakeMachines",
    "Frame",
    "HostCompat",
    "Identity",
    "Layers",
    "Machines",
    "Outcome",
    "OutputSink",
    "Preparation",
    "Readiness",
    "Session",
    "Shape",
    "Sockets",
    "Start",
    "System",
    "encode",
    "encode_fields",
    "end_found",
    "find_processes",
    "identify",
    "kill",
    "machines_below",
    "make_baseline",
    "make_ext4",
]
