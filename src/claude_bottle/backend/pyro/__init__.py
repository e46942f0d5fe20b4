"""The backend `pyro`: each bottle is a workspace in a machine of its own, used through the public SDK."""

from __future__ import annotations

from claude_bottle.backend.interface import Backend

__all__ = ["backend"]


def backend() -> Backend:
    """Return the backend of this user's machines."""
    from claude_bottle.backend.pyro.launcher import PyroBackend  # noqa: PLC0415 - slow to import

    return PyroBackend()
