"""The engine of machines whose kernel is a process of the host (User-Mode Linux): native speed without KVM."""

from __future__ import annotations

from pyro_mcp.engine.uml.engine import UmlEngine, choose_engine

__all__ = [
    "UmlEngine",
    "choose_engine",
]
