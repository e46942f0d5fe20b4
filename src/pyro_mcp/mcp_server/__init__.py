"""The MCP server: tools for models, each one call on `Pyro`. Over stdio, or HTTP on loopback."""

from __future__ import annotations

from pyro_mcp.mcp_server.create import create_server
from pyro_mcp.mcp_server.profiles import DEFAULT_PROFILE, MODES, PROFILES
from pyro_mcp.mcp_server.server import WorkspaceServer

__all__ = ["DEFAULT_PROFILE", "MODES", "PROFILES", "WorkspaceServer", "create_server"]
