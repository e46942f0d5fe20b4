"""The names and addresses by which a guest reaches its guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.manifest import BottleConfig

GUARD_HOST = "guard.bottle.internal"
"""The name that leads to the guard from inside its bottle, and from nowhere else."""
MCP_PATH = "/mcp"
MCP_SERVER = "bottle"
"""The name of the guard's MCP server in the settings of harnesses."""


def mcp_url(bottle: BottleConfig) -> str | None:
    """Return the address of the MCP server for the agent of a bottle; None if it may ask for nothing."""
    return f"http://{GUARD_HOST}{MCP_PATH}" if bottle.supervise is not None else None
