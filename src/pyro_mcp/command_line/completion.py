"""The verb `completion`, and the answer to a shell that asks for completions."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping

from pyro_mcp.command_line.parser import Verbs, verb

_SHELLS = ("bash", "zsh", "fish")


def add_completion(verbs: Verbs, program: str, *, example: str) -> None:
    """Add the verb that prints the completion script of `program` for a shell."""

    def print_script(arguments: argparse.Namespace) -> int:
        from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - only this command needs it

        print(shellcode([program], shell=arguments.shell))
        return 0

    parser = verb(verbs, "completion", "print the shell completion script", print_script, example=example)
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish")


def answer_completion(parser: argparse.ArgumentParser, completers: Mapping[str, Callable[..., Iterable[str]]]) -> None:
    """Answer a shell that asks for completions, and exit; return at once when none asks.

    `completers` has a completer for arguments of the parser and of its verbs, by the argument's name there.
    """
    if "_ARGCOMPLETE" in os.environ:
        from argcomplete import autocomplete  # noqa: PLC0415

        _attach(completers, parser)
        autocomplete(parser, always_complete_options=False)


def _attach(completers: Mapping[str, Callable[..., Iterable[str]]], parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _attach(completers, inner)
        elif action.dest in completers:
            action.completer = completers[action.dest]  # type: ignore[attr-defined] # argcomplete looks for it
