"""Write the reference of a command line from its parser, to standard output.

.venv/bin/python scripts/cli_reference.py >docs/cli.md
.venv/bin/python scripts/cli_reference.py claude-bottle >docs/claude-bottle.md
.venv/bin/python scripts/cli_reference.py moot >docs/moot.md
"""

from __future__ import annotations

import argparse
import sys

import claude_bottle.cli.program
import moot.cli.program
import pyro_mcp.cli.program
from pyro_mcp.command_line import own_actions, spelled, verbs

_OPENING = """\
# {title}

Generated from the parser by `scripts/cli_reference.py`; a test keeps the two equal.
Every command also takes `--help`. {after_dashes}
"""
_PROGRAMS = {
    "pyro": (
        pyro_mcp.cli.program.command_parser,
        _OPENING.format(
            title="The command line",
            after_dashes="The words after the first `--` are the command for the machine.",
        ),
    ),
    "claude-bottle": (
        claude_bottle.cli.program.command_parser,
        _OPENING.format(
            title="The command claude-bottle",
            after_dashes="The words after the first `--` are arguments for the agent's program.",
        ),
    ),
    "moot": (
        moot.cli.program.command_parser,
        _OPENING.format(title="The command moot", after_dashes="").rstrip() + "\n",
    ),
}


def reference(program: str) -> str:
    """Return the whole document."""
    command_parser, opening = _PROGRAMS[program]
    parser = command_parser()
    parts = [opening, *(_section(verb) for verb in verbs(parser))]
    parts.append(f"## Examples and exit codes\n\n```\n{(parser.epilog or '').strip()}\n```\n")
    return "\n".join(parts)


def _section(verb: argparse.ArgumentParser) -> str:
    lines = [f"## {verb.prog}", "", verb.description or "", "", "| | |", "|---|---|"]
    lines += [f"| `{spelled(action)}` | {action.help} |" for action in own_actions(verb)]
    return "\n".join([*lines, "", f"```\n{verb.get_default('example')}\n```", ""])


if __name__ == "__main__":
    sys.stdout.write(reference(*sys.argv[1:] or ["pyro"]))
