"""claude-bottle completion, and the completion of agents' and bottles' names."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping

from claude_bottle import state
from claude_bottle.cli.manifest_option import loaded
from pyro_mcp.command_line import Verbs, verb
from pyro_mcp.errors import PyroError

_SHELLS = ("bash", "zsh", "fish")


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "completion",
        "print the shell completion script",
        _completion,
        example="claude-bottle completion bash \\\n  >~/.local/share/bash-completion/completions/claude-bottle",
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish")


def _completion(arguments: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - only this command needs it

    print(shellcode(["claude-bottle"], shell=arguments.shell))
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


def agents(*, parsed_args: argparse.Namespace, **_: object) -> Mapping[str, str]:
    """Return the agents of the manifest, each with its bottle as a description."""
    try:
        found = loaded(parsed_args).manifest.agents
    except (PyroError, OSError):
        return {}  # a shell has no place for an error
    return {name: f"in {agent.bottle}" for name, agent in found.items()}


def bottles(**_: object) -> Iterable[str]:
    """Return the names of the bottles."""
    try:
        return state.slugs()
    except PyroError:
        return []  # a shell has no place for an error


_COMPLETERS: Mapping[str, Callable[..., Iterable[str]]] = {"agent": agents, "bottle": bottles}
"""The completer of each argument, by the argument's name in the parser."""
