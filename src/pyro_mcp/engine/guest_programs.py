"""Our own programs in the guest, as they were built with this package."""

from __future__ import annotations

import os
from pathlib import Path


def agent_binary() -> Path:
    """The guest agent that was built with this package."""
    return Path(os.path.dirname(__file__), "pyro-agent")


def tool_binary() -> Path:
    """The guest's file tool that was built with this package."""
    return Path(os.path.dirname(__file__), "pyro-tool")


def session_binary() -> Path:
    """The guest's keeper of sessions that was built with this package."""
    return Path(os.path.dirname(__file__), "pyro-session")
