"""One microVM: no names, no history."""

from __future__ import annotations

from pyro_mcp.engine.accelerator import Accelerator
from pyro_mcp.engine.engine import Engine, Session
from pyro_mcp.engine.guest import OUTPUT_CAP, Command, Outcome
from pyro_mcp.engine.host_compat import HostCompat
from pyro_mcp.engine.launch import Identity, find_processes
from pyro_mcp.engine.machines import Machines, Preparation, Start
from pyro_mcp.engine.shape import BOOT_MODULES, Shape, System
from pyro_mcp.engine.templates import Template

__all__ = [
    "BOOT_MODULES",
    "OUTPUT_CAP",
    "Accelerator",
    "Command",
    "Engine",
    "HostCompat",
    "Identity",
    "Machines",
    "Outcome",
    "Preparation",
    "Session",
    "Shape",
    "Start",
    "System",
    "Template",
    "find_processes",
]
