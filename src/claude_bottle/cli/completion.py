"""claude-bottle completion, and the completion of agents' and bottles' names."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping

from claude_bottle import state
from claude_bottle.cli.manifest_option import loaded
from pyro_mcp.command_line import Verbs, add_completion, answer_completion
from pyro_mcp.errors import PyroError


def add(verbs: Verbs) -> None:
    example = "claude-bottle completion bash \\\n  >~/.local/share/bash-completion/completions/claude-bottle"
    add_completion(verbs, "claude-bottle", example=example)


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and exit; return at once when none asks."""
    answer_completion(parser, _COMPLETERS)


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
