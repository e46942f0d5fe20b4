"""Find the source of an environment by its name."""

from __future__ import annotations

from pyro_mcp.environments.catalog import CATALOG
from pyro_mcp.environments.debian import DebianSource
from pyro_mcp.environments.names import parse_image_reference, unknown_environment
from pyro_mcp.environments.oci import OciSource
from pyro_mcp.environments.source import Source


def find_source(name: str) -> Source:
    """Return the source of an environment; raises `UnknownEnvironment`, and `InvalidRequest` for a malformed name."""
    if name.startswith("oci:"):
        return OciSource(name, parse_image_reference(name))
    if name not in CATALOG:
        raise unknown_environment(name, CATALOG)
    return DebianSource(CATALOG[name])
