"""The paths of our programs for the guest, as they were built with this package."""

from __future__ import annotations

import os
from pathlib import Path


def agent_binary() -> Path:
    """Return the path of the agent."""
    return Path(os.path.dirname(__file__), "pyro-agent")


def tool_binary() -> Path:
    """Return the path of the guest tool."""
    return Path(os.path.dirname(__file__), "pyro-tool")


def session_binary() -> Path:
    """Return the path of the session program."""
    return Path(os.path.dirname(__file__), "pyro-session")
