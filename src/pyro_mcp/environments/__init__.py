"""What guests boot: root images by name, and the kernel. Built from Debian or fetched from a registry, and cached."""

from __future__ import annotations

from pyro_mcp.environments.fakeroot import user_namespace
from pyro_mcp.environments.kernel import GuestKernel
from pyro_mcp.environments.layer import LayerWriter, Member
from pyro_mcp.environments.modules import load_order
from pyro_mcp.environments.own import About, SystemSource
from pyro_mcp.environments.store import Environments, RootImage

__all__ = [
    "About",
    "Environments",
    "GuestKernel",
    "LayerWriter",
    "Member",
    "RootImage",
    "SystemSource",
    "load_order",
    "user_namespace",
]
