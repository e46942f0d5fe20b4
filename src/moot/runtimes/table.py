"""The class of each runtime that moot.toml may name (`moot.known_words`)."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from moot.runtimes.interface import Runtime

RUNTIMES = {
    "local": "moot.runtimes.local:LocalRuntime",
    "devcontainer": "moot.runtimes.devcontainer:DevcontainerRuntime",
    "bottle": "moot.runtimes.bottle:BottleRuntime",
}
"""Each runtime's name, and its class, which takes the project's folder on this host."""


def runtime_named(name: str, project: Path) -> Runtime:
    """Return the runtime of a project, by a name that moot.toml may have."""
    module, _, attribute = RUNTIMES[name].partition(":")
    return cast("Runtime", getattr(import_module(module), attribute)(project))
