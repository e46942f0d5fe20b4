"""pyro completion, and what completes in a shell beside commands and options: names of things that exist."""

from __future__ import annotations

import argparse
import os

import pyro_mcp
from pyro_mcp.command_line import Verbs, verb
from pyro_mcp.errors import PyroError
from pyro_mcp.serving import HOSTS, MODES, PROFILES

_SHELLS = ("bash", "zsh", "fish")


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "completion",
        "print the shell completion script",
        _completion,
        example="pyro completion bash >~/.local/share/bash-completion/completions/pyro",
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish")


def _completion(arguments: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - only this command needs it

    print(shellcode(["pyro"], shell=arguments.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and exit; return at once when none asks."""
    if "_ARGCOMPLETE" in os.environ:
        from argcomplete import autocomplete  # noqa: PLC0415

        _attach_completers(parser)
        autocomplete(parser, always_complete_options=False)


def _attach_completers(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _attach_completers(inner)
        elif action.dest in _COMPLETERS:
            action.completer = _COMPLETERS[action.dest]  # type: ignore[attr-defined] # argcomplete looks for it


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


_COMPLETERS = {
    "host": hosts,
    "mode": modes,
    "profile": profiles,
    "workspace_id": workspaces,
    "environment": environments,
    "snapshot": snapshots,
    "snapshot_name": snapshots,
}
