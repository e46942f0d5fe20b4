"""The runtimes by name; a new one is a file here, and a line in this table."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from moot.runtimes.interface import Runtime
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import near_match

RUNTIMES = {
    "local": "moot.runtimes.local:LocalRuntime",
    "devcontainer": "moot.runtimes.devcontainer:DevcontainerRuntime",
    "bottle": "moot.runtimes.bottle:BottleRuntime",
}
"""Each runtime's name, and its class, which takes the project's folder on this host."""
DEFAULT = "local"


def runtime_named(name: str, project: Path) -> Runtime:
    """Return the runtime of a project. Raises `InvalidRequest` for an unknown name."""
    if name not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise InvalidRequest(f"there is no runtime {name!r}", hint=near_match(name, RUNTIMES) or f"choose from {known}")
    module, _, attribute = RUNTIMES[name].partition(":")
    return cast("Runtime", getattr(import_module(module), attribute)(project))
