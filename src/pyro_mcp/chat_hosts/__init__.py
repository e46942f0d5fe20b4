"""The chat hosts that use our server: Claude Code, Codex and OpenCode, one file each."""

from __future__ import annotations

from pyro_mcp.chat_hosts.chat_host import HOST_NAMES
from pyro_mcp.chat_hosts.connection import config, connect, disconnect, doctor, repair

__all__ = ["HOST_NAMES", "config", "connect", "disconnect", "doctor", "repair"]
