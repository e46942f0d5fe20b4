"""Bottles in machines of smolvm, started by its command line."""

from __future__ import annotations

from claude_bottle.backend.interface import Backend

__all__ = ["backend"]


def backend() -> Backend:
    """Return the backend of this user's machines of smolvm."""
    from claude_bottle.backend.smolmachines.launcher import SmolmachinesBackend  # noqa: PLC0415 - slow to import

    return SmolmachinesBackend()
