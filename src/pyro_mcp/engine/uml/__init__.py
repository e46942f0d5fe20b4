"""Machines whose kernel is a process of the host (User-Mode Linux): native speed without KVM."""

from __future__ import annotations

from pyro_mcp.engine.uml.probe import uml_circumstances, uml_fault
from pyro_mcp.engine.uml.starter import UmlStarter

__all__ = [
    "UmlStarter",
    "uml_circumstances",
    "uml_fault",
]
