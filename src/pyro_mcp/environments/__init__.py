"""What guests boot: root images by name, and the kernel. Built from Debian or fetched from a registry, and cached."""

from __future__ import annotations

from pyro_mcp.environments.dockerfile import Instruction, parse_dockerfile
from pyro_mcp.environments.dockerignore import ignored_by
from pyro_mcp.environments.fakeroot import user_namespace
from pyro_mcp.environments.kernel import GuestKernel
from pyro_mcp.environments.layer import LayerWriter, Member
from pyro_mcp.environments.modules import load_order
from pyro_mcp.environments.names import registry_name
from pyro_mcp.environments.own import About, SystemSource
from pyro_mcp.environments.store import Environments, RootImage

__all__ = [
    "About",
    "Environments",
    "GuestKernel",
    "Instruction",
    "LayerWriter",
    "Member",
    "RootImage",
    "SystemSource",
    "ignored_by",
    "load_order",
    "parse_dockerfile",
    "registry_name",
    "user_namespace",
]
