"""The chat hosts that use our server: Claude Code, Codex and OpenCode, one file each."""

from __future__ import annotations

from pyro_mcp.hosts.connection import config, connect, disconnect, doctor, repair
from pyro_mcp.hosts.host import HOST_NAMES
from pyro_mcp.hosts.jsonc import parse as read_jsonc

__all__ = ["HOST_NAMES", "config", "connect", "disconnect", "doctor", "read_jsonc", "repair"]
