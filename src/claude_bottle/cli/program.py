"""The parser of every verb. A new verb is a module with a function `add`, and its name in `_VERBS`."""

from __future__ import annotations

import argparse

from claude_bottle.cli import (
    approvals,
    audit,
    bottles,
    check,
    completion,
    demo,
    doctor,
    files,
    init,
    logout,
    logs,
    page,
    plan,
    run,
    schema,
    trust,
    watch,
)
from pyro_mcp import __version__
from pyro_mcp.command_line import Parser, add_verbs

# In the order of the help: the manifest, launches, running bottles, the host.
_VERBS = (
    init,
    check,
    trust,
    schema,
    plan,
    run,
    bottles,
    approvals,
    watch,
    page,
    logs,
    files,
    logout,
    audit,
    doctor,
    demo,
    completion,
)

_EXAMPLES = """\
examples:
  claude-bottle demo                          a real agent; needs no account
  claude-bottle init                          write bottles.toml, with comments
  claude-bottle check                         its keys, and the file of each
  claude-bottle plan claude                   what a launch would do
  claude-bottle run claude --copy-cwd         the agent in this terminal
  claude-bottle run claude -d -- -p 'fix it'  in the background, with arguments

exit codes:
  0 success   2 wrong usage, or a wrong manifest   3 not found
  4 wrong state, or busy   5 the host is not ready   6 a host program failed
  7 an environment failed   8 the bottle failed   9 a deadline passed
  10 a disk is full   130 interrupted
  'claude-bottle run' and 'attach' return the agent's own code,
  or 125 when claude-bottle itself failed
"""


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of every verb."""
    parser = Parser(
        prog="claude-bottle",
        description="Run a coding agent in a virtual machine or a container. One file says what it may touch.",
        epilog=_EXAMPLES,
    )
    verbs = add_verbs(parser, version=__version__)
    for module in _VERBS:
        module.add(verbs)
    return parser
