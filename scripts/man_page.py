"""Write the man page of a command line from its parser, to standard output.

.venv/bin/python scripts/man_page.py >docs/pyro.1
.venv/bin/python scripts/man_page.py claude-bottle >docs/claude-bottle.1
"""

from __future__ import annotations

import argparse
import sys

import claude_bottle.cli.program
import pyro_mcp.cli.program
from pyro_mcp.command_line import own_actions, spelled, verbs

_PROGRAMS = {
    "pyro": (
        pyro_mcp.cli.program.command_parser,
        "disposable microVM workspaces for coding agents",
        "the command for the machine",
    ),
    "claude-bottle": (
        claude_bottle.cli.program.command_parser,
        "a coding agent in a virtual machine or a container",
        "arguments for the agent's program",
    ),
}


def man_page(program: str) -> str:
    """Return the whole page in the man(7) macros."""
    command_parser, purpose, after_dashes = _PROGRAMS[program]
    parser, name = command_parser(), escaped(program)
    parts = [f".TH {name.upper()} 1", ".SH NAME", f"{name} \\- {purpose}"]
    parts += [".SH SYNOPSIS", f".B {name}", "COMMAND ...", ".SH DESCRIPTION"]
    about = f"Each command below also takes --json and --help. The words after the first -- are {after_dashes}."
    parts += [escaped(about), ".SH COMMANDS"]
    for verb in verbs(parser):
        parts += _command(verb)
    parts += [".SH EXAMPLES AND EXIT STATUS", ".EX", escaped(parser.epilog or ""), ".EE"]
    return "\n".join([*parts, ""])


def _command(verb: argparse.ArgumentParser) -> list[str]:
    lines = [".SS " + escaped(verb.prog), escaped(verb.description or "")]
    for action in own_actions(verb):
        lines += [".TP", f"\\fB{escaped(spelled(action))}\\fR", escaped(action.help or "")]
    return [*lines, ".PP", ".EX", escaped(str(verb.get_default("example"))), ".EE"]


def escaped(text: str) -> str:
    """Return text that roff prints as it stands: backslashes, hyphens, and dots and quotes that begin a line."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in plain.splitlines())


if __name__ == "__main__":
    sys.stdout.write(man_page(*sys.argv[1:] or ["pyro"]))
