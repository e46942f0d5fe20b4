"""The command line: parse, one call on `Pyro`, render. One file per group of verbs."""

from __future__ import annotations

from pyro_mcp.cli.program import main

__all__ = ["main"]
