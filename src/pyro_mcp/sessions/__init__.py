"""Shells and services: programs in a workspace that outlive every process of the host."""

from __future__ import annotations

from pyro_mcp.sessions.services import Services, ServiceSpec
from pyro_mcp.sessions.shells import Shells

__all__ = [
    "ServiceSpec",
    "Services",
    "Shells",
]
