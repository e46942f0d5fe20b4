"""Machines with a record: created, found again, repaired and deleted; what the surfaces stand on."""

from __future__ import annotations

from pyro_mcp.engine import OutputSink
from pyro_mcp.workspaces.links import POLICIES, Link
from pyro_mcp.workspaces.pyro import Pyro

__all__ = ["POLICIES", "Link", "OutputSink", "Pyro"]
