"""`docker build` in virtual machines: each build stage of a Dockerfile runs in a machine that is deleted afterwards."""

from __future__ import annotations

from pyro_mcp.builds.build_definition import read_build_definition
from pyro_mcp.builds.builder import EnvironmentBuilder
from pyro_mcp.builds.stage_machines import BuildOptions

__all__ = [
    "BuildOptions",
    "EnvironmentBuilder",
    "read_build_definition",
]
