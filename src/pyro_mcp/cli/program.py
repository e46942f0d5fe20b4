"""The parser of every command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pyro_mcp import __version__
from pyro_mcp.cli import completion, demo, doctor, env, host, mcp, prepare, run, workspace
from pyro_mcp.cli.completion import complete
from pyro_mcp.command_line import Parser, add_verbs
from pyro_mcp.command_line import run_command_line as run_with

_EXAMPLES = """\
examples:
  pyro doctor                             what this host has and lacks
  pyro prepare debian:12                  build the environment for fast starts
  pyro run debian:12 -- git --version     one command in a fresh virtual machine
  tar c . | pyro run debian:12 -- tar tv  standard input and output are pipes

exit codes:
  0 success   2 wrong usage   3 not found   4 wrong state, or busy
  5 the host is not ready   6 a host program failed
  7 an environment failed   8 the guest failed   9 a deadline passed
  10 a disk is full   130 interrupted
  'pyro run' returns the command's own code, 124 when it timed out,
  125 when pyro itself failed
"""


def run_command_line(words: Sequence[str]) -> int:
    """Run one command line; return its exit code. Raises `KeyboardInterrupt`."""
    return run_with(words, command_parser, complete)


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = Parser(
        prog="pyro",
        description="Disposable microVM workspaces for coding agents.",
        epilog=_EXAMPLES,
    )
    verbs = add_verbs(parser, version=__version__)
    for group in (doctor, prepare, run, workspace, env, mcp, host, demo, completion):
        group.add(verbs)
    return parser
