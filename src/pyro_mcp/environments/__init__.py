"""Environments: root images by name (built from Debian, pulled from a registry, or custom) and the guest kernel."""

from __future__ import annotations

from pathlib import Path

from pyro_mcp.environments.catalog import CLAUDE_CODE, NpmPackage
from pyro_mcp.environments.custom import CustomDetails, StreamedSource
from pyro_mcp.environments.dockerfile import Instruction, parse_dockerfile
from pyro_mcp.environments.dockerignore import ignored_by
from pyro_mcp.environments.kernel import GuestKernel
from pyro_mcp.environments.kernel_modules import load_order
from pyro_mcp.environments.layer import LayerEntry, LayerWriter
from pyro_mcp.environments.names import normalize_image_name
from pyro_mcp.environments.root_export import RootExport, export_root, new_file
from pyro_mcp.environments.store import EnvironmentStore, RootImage
from pyro_mcp.environments.user_namespace import user_namespace_command

__all__ = [
    "CLAUDE_CODE",
    "CustomDetails",
    "EnvironmentStore",
    "GuestKernel",
    "Instruction",
    "LayerEntry",
    "LayerWriter",
    "RootExport",
    "RootImage",
    "StreamedSource",
    "export_root",
    "ignored_by",
    "install_package",
    "load_order",
    "new_file",
    "normalize_image_name",
    "parse_dockerfile",
    "user_namespace_command",
]


def install_package(package: NpmPackage, root: Path, work: Path) -> None:
    """Put the files and links of a package of npm's registry below `root`; raises `EnvironmentFailed`."""
    # Imported here because it loads TLS, which few commands need.
    from pyro_mcp.environments import npm_packages  # noqa: PLC0415

    npm_packages.install_package(package, root, work)
