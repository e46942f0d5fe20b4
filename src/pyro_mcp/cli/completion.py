"""pyro completion, and what completes in a shell beside commands and options: names of things that exist."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping

import pyro_mcp
from pyro_mcp.command_line import Verbs, add_completion, answer_completion
from pyro_mcp.errors import PyroError
from pyro_mcp.serving import HOSTS, MODES, PROFILES


def add(verbs: Verbs) -> None:
    example = "pyro completion bash >~/.local/share/bash-completion/completions/pyro"
    add_completion(verbs, "pyro", example=example)


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and exit; return at once when none asks."""
    answer_completion(parser, _COMPLETERS)


def workspaces(**_: object) -> dict[str, str]:
    """Return the ids of the workspaces, each with its name or state as a description."""
    try:
        found = pyro_mcp.Pyro().list_workspaces()["workspaces"]
    except PyroError:
        return {}  # a shell has no place for an error
    return {one["workspace_id"]: f"{one['name'] or one['environment']} ({one['state']})" for one in found}


def environments(**_: object) -> dict[str, str]:
    """Return the names of the environments that are known here."""
    try:
        found = pyro_mcp.Pyro().list_environments()["environments"]
    except PyroError:
        return {}
    return {one["name"]: "installed" if one["installed"] else "not installed yet" for one in found}


def snapshots(*, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return the snapshots of the workspace that the command line names."""
    try:
        found = pyro_mcp.Pyro().list_snapshots(parsed_args.workspace_id)["snapshots"]
    except (PyroError, AttributeError):
        return []
    return [one["snapshot_name"] for one in found]


def hosts(**_: object) -> tuple[str, ...]:
    """Return the names of the chat hosts."""
    return HOSTS


def modes(**_: object) -> tuple[str, ...]:
    """Return the modes of the MCP server."""
    return MODES


def profiles(**_: object) -> tuple[str, ...]:
    """Return the profiles of the MCP server."""
    return PROFILES


_COMPLETERS: Mapping[str, Callable[..., Iterable[str]]] = {
    "host": hosts,
    "mode": modes,
    "profile": profiles,
    "workspace_id": workspaces,
    "environment": environments,
    "snapshot": snapshots,
    "snapshot_name": snapshots,
}
