"""The MCP server: tools for models, each one call on `Pyro`. Over stdio, or HTTP on loopback."""

from __future__ import annotations

from pyro_mcp.server.create import create_server
from pyro_mcp.server.profiles import DEFAULT_PROFILE, MODES, PROFILES
from pyro_mcp.server.server import WorkspaceServer

__all__ = ["DEFAULT_PROFILE", "MODES", "PROFILES", "WorkspaceServer", "create_server"]
