"""Environments built from a Dockerfile, one machine for each stage."""

from __future__ import annotations

from pyro_mcp.builds.builder import Building
from pyro_mcp.builds.recipes import read_recipe
from pyro_mcp.builds.stage_machines import BuildOptions

__all__ = [
    "BuildOptions",
    "Building",
    "read_recipe",
]
