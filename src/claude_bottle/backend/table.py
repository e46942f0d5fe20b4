"""The backends by name; each is imported when it is chosen."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

from claude_bottle.backend.interface import Backend
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import near_match

BACKENDS: Mapping[str, str] = {
    "pyro": "claude_bottle.backend.pyro",
    "docker": "claude_bottle.backend.docker",
    "smolmachines": "claude_bottle.backend.smolmachines",
}
"""The backends by name, each with its package; the first is the default."""
DEFAULT_BACKEND = next(iter(BACKENDS))
_FAKE = {"fake": "claude_bottle.backend.fake"}
_FAKE_OFFERED = "CLAUDE_BOTTLE_FAKE"


def offered() -> Mapping[str, str]:
    """Return the backends that can be asked for, by name."""
    return {**BACKENDS, **(_FAKE if os.environ.get(_FAKE_OFFERED) else {})}


def backend_named(name: str) -> Backend:
    """Return the backend of that name; raise `InvalidRequest` with the known ones."""
    known = offered()
    if name not in known:
        near = near_match(name, known)
        raise InvalidRequest(f"there is no backend {name!r}", hint=near or f"choose from {', '.join(known)}")
    found: Backend = importlib.import_module(known[name]).backend()
    return found
