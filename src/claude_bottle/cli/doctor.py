"""claude-bottle doctor"""

from __future__ import annotations

import argparse

from claude_bottle.bottles import Bottles
from pyro_mcp.command_line import Verbs, in_command_words, paragraph, print_json, verb
from pyro_mcp.errors import HostNotReady


def add(verbs: Verbs) -> None:
    verb(
        verbs,
        "doctor",
        "check what each backend needs, and say how to get what is missing",
        _doctor,
        example="claude-bottle doctor",
    )


def _doctor(arguments: argparse.Namespace) -> int:
    report = Bottles().doctor()
    if arguments.json:
        print_json(report)
        return 0 if report["ready"] else HostNotReady.exit_code
    for one in report["backends"]:
        default = " (default)" if one["default"] else ""
        print(f"{'ok' if one['ready'] else 'MISS':4}  {one['name']}{default}")
        for problem in one["problems"]:
            print("\n".join(paragraph(f"      {line}", 8) for line in in_command_words(problem).splitlines()))
    print()
    print("ready: 'claude-bottle demo' shows a bottle" if report["ready"] else "the default backend is not ready")
    return 0 if report["ready"] else HostNotReady.exit_code
