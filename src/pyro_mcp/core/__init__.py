"""`Pyro`, the one object that every surface calls, put together from the layers below."""

from __future__ import annotations

from pyro_mcp.core.pyro import Pyro
from pyro_mcp.engine import OutputSink
from pyro_mcp.machines import POLICIES, NetworkPolicy

__all__ = ["POLICIES", "NetworkPolicy", "OutputSink", "Pyro"]
