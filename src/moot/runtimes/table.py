"""The class of each runtime that moot.toml may name (`moot.known_words`)."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from moot.runtimes.interface import Runtime
from pyro_mcp.host.files import write_atomic
from pyro_mcp.host.regular_file import NotSmallAndRegular, read_regular

RUNTIMES = {
    "local": "moot.runtimes.local:LocalRuntime",
    "devcontainer": "moot.runtimes.devcontainer:DevcontainerRuntime",
    "bottle": "moot.runtimes.bottle:BottleRuntime",
}
"""Each runtime's name, and its class, which takes the project's folder on this host."""

_RECORD = ".moot/runtime"
_LONGEST_NAME = 100


def runtime_named(name: str, project: Path) -> Runtime:
    """Return the runtime of a project, by a name that moot.toml may have."""
    module, _, attribute = RUNTIMES[name].partition(":")
    return cast("Runtime", getattr(import_module(module), attribute)(project))


def record_runtime(project: Path, name: str) -> None:
    """Write down with which runtime the agents of a project are launched."""
    write_atomic(project / _RECORD, name)


def recorded_runtime(project: Path) -> str:
    """Return the name of the runtime of the last launch, "" when there was none."""
    try:
        content, _ = read_regular(project / _RECORD, most=_LONGEST_NAME)
    except (FileNotFoundError, NotSmallAndRegular):
        return ""
    name = content.decode(errors="replace").strip()
    return name if name in RUNTIMES else ""


def running_roles(project: Path) -> list[str]:
    """Return the roles of a project whose agents run, whatever its `moot.toml` says now."""
    name = recorded_runtime(project)
    return [role for role, one in runtime_named(name, project).agents().items() if one.alive] if name else []
