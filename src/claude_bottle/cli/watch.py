"""claude-bottle watch"""

from __future__ import annotations

import argparse
import sys

from claude_bottle.bottles import Bottles
from pyro_mcp.command_line import Verbs, verb
from pyro_mcp.errors import InvalidRequest


def add(verbs: Verbs) -> None:
    verb(
        verbs,
        "watch",
        "show agents, their requests and all decisions in this terminal, and approve or deny with a key",
        _watch,
        example="claude-bottle watch",
    )


def _watch(arguments: argparse.Namespace) -> int:
    if arguments.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidRequest(
            "watch needs a terminal", hint="'claude-bottle pending --json' and 'audit --json' are for programs"
        )
    from claude_bottle.watch import watch  # noqa: PLC0415

    watch(Bottles())
    return 0
