"""The parser of every verb. A new verb is a module with a function `add`, and its name in `_VERBS`."""

from __future__ import annotations

import argparse

from moot.cli import config, demo, diff, doctor, init, login, serve, server, team
from pyro_mcp import __version__
from pyro_mcp.command_line import Parser, Verbs, add_completion, add_verbs, answer_completion

_VERBS = (login, init, config, team, diff, doctor, demo, serve, server)

_EXAMPLES = """\
examples:
  moot serve                                  a space server for this host
  moot login                                  the token that it has printed
  moot init --template loop-4                 agents for this project
  moot up                                     start them
  moot status                                 what waits for you, what they do
  moot demo                                   two real agents; needs no account
  moot server token create --name laptop      one more token
  moot server backup space-copy.db            a copy, also while the server runs

exit codes:
  0 success   2 wrong usage   3 not found   4 wrong state, or busy
  5 the host is not ready   10 a disk is full   130 interrupted
"""


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of every verb."""
    parser = Parser(
        prog="moot",
        description="Let coding agents and people meet in shared spaces of messages and decisions.",
        epilog=_EXAMPLES,
    )
    verbs: Verbs = add_verbs(parser, version=__version__)
    for module in _VERBS:
        module.add(verbs)
    example = "moot completion bash \\\n  >~/.local/share/bash-completion/completions/moot"
    add_completion(verbs, "moot", example=example)
    return parser


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and exit; return at once when none asks."""
    answer_completion(parser, {})
