"""Write docs/cli.md from the parser itself: `.venv/bin/python scripts/cli_reference.py > docs/cli.md`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from pyro_mcp.cli.program import _parser

_OPENING = """\
# The command line

Generated from the parser by `scripts/cli_reference.py`; a test keeps the two equal.
Every command also takes `--help`. What stands after the first `--` is the command for the machine, word for word.
"""


def reference() -> str:
    """The whole document."""
    parser = _parser()
    parts = [_OPENING, *(_section(verb) for verb in verbs(parser))]
    parts.append(f"## Examples and exit codes\n\n```\n{(parser.epilog or '').strip()}\n```\n")
    return "\n".join(parts)


def verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers that do something, in the order of the help; one that only groups others is left out."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if parser.get_default("act") is not None:
        yield parser
    for group in groups:
        for verb in group.choices.values():
            yield from verbs(verb)


def _section(verb: argparse.ArgumentParser) -> str:
    lines = [f"## {verb.prog}", "", verb.description or "", "", "| | |", "|---|---|"]
    own = [action for action in verb._actions if action.dest not in ("help", argparse.SUPPRESS)]
    lines += [f"| `{spelled(action)}` | {action.help} |" for action in own]
    example = (verb.epilog or "").removeprefix("example: ")
    return "\n".join([*lines, "", f"```\n{example}\n```", ""])


def spelled(action: argparse.Action) -> str:
    """An option or argument as a user writes it."""
    value = action.metavar or action.dest
    if not action.option_strings:
        return f"[{value}]" if action.nargs == "?" else str(value)
    return f"{', '.join(action.option_strings)}{'' if action.nargs == 0 else f' {value}'}"


if __name__ == "__main__":
    sys.stdout.write(reference())
