"""Write docs/cli.md from the parser itself: `.venv/bin/python scripts/cli_reference.py > docs/cli.md`."""

from __future__ import annotations

import argparse
import sys

from pyro_mcp.cli.program import command_parser
from pyro_mcp.command_line import own_actions, spelled, verbs

_OPENING = """\
# The command line

Generated from the parser by `scripts/cli_reference.py`; a test keeps the two equal.
Every command also takes `--help`. What stands after the first `--` is the command for the machine, word for word.
"""


def reference() -> str:
    """Return the whole document."""
    parser = command_parser()
    parts = [_OPENING, *(_section(verb) for verb in verbs(parser))]
    parts.append(f"## Examples and exit codes\n\n```\n{(parser.epilog or '').strip()}\n```\n")
    return "\n".join(parts)


def _section(verb: argparse.ArgumentParser) -> str:
    lines = [f"## {verb.prog}", "", verb.description or "", "", "| | |", "|---|---|"]
    lines += [f"| `{spelled(action)}` | {action.help} |" for action in own_actions(verb)]
    return "\n".join([*lines, "", f"```\n{verb.get_default('example')}\n```", ""])


if __name__ == "__main__":
    sys.stdout.write(reference())
