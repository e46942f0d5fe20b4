"""Write docs/pyro.1 from the parser itself: `.venv/bin/python scripts/man_page.py > docs/pyro.1`."""

from __future__ import annotations

import argparse
import sys

from pyro_mcp.cli.program import command_parser
from pyro_mcp.command_line import own_actions, spelled, verbs

_NAME = "pyro \\- disposable microVM workspaces for coding agents"
_DESCRIPTION = (
    "Each command below also takes --json and --help. The words after the first -- are the command for the machine."
)


def man_page() -> str:
    """Return the whole page in the man(7) macros."""
    parser = command_parser()
    parts = [".TH PYRO 1", ".SH NAME", _NAME, ".SH SYNOPSIS", ".B pyro", "COMMAND ...", ".SH DESCRIPTION"]
    parts += [escaped(_DESCRIPTION), ".SH COMMANDS"]
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
    sys.stdout.write(man_page())
