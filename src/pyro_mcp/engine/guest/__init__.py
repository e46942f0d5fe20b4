"""The engine of machines with a guest; `engine.qemu` and `engine.uml` start them, each on its own accelerators."""

from __future__ import annotations

from pyro_mcp.engine.guest.engine import GuestEngine

__all__ = [
    "GuestEngine",
]
