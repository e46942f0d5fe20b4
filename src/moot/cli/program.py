"""The parser of every verb. A new verb is a module with a function `add`, and its name in `_VERBS`."""

from __future__ import annotations

import argparse

from moot.cli import config, demo, diff, doctor, init, login, serve, server, team
from pyro_mcp import __version__
from pyro_mcp.command_line import Parser, Verbs, add_completion, add_verbs, answer_completion

_VERBS = (login, init, config, team, diff, doctor, demo, serve, server)

_EXAMPLES = """\
examples:
  moot serve                               run a space server on this host
  moot login                               store the token that it printed
  moot init --template loop-4              give this project four agents
  moot up                                  start the agents
  moot status                              show what waits for you
  moot demo                                watch two agents; needs no account
  moot server token create --name laptop   make one more token
  moot server backup space-copy.db         copy the database of the server

exit codes:
  0 success   1 an agent failed   2 wrong usage   3 not found
  4 wrong state, or busy   5 the host is not ready   10 a disk is full
  130 interrupted
"""


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of every verb."""
    parser = Parser(
        prog="moot",
        description="Run teams of coding agents, and the server where they and people exchange messages.",
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
