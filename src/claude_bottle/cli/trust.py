"""claude-bottle trust"""

from __future__ import annotations

import argparse
import sys

from claude_bottle.cli.manifest_option import settings_of
from pyro_mcp.command_line import Verbs, print_json, shown, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "trust",
        "approve the present content of this project's manifest, so that 'run' may use it",
        _trust,
        example="claude-bottle trust --show\nclaude-bottle trust",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--show", action="store_true", help="only show what it takes and opens, and if it is approved")
    choice.add_argument("--remove", action="store_true", help="withdraw the approval")


def _trust(arguments: argparse.Namespace) -> int:
    from claude_bottle.manifest import load, trust  # noqa: PLC0415 - pydantic is slow to import
    from claude_bottle.trust_report import taken_from_host  # noqa: PLC0415

    found = load()
    path = trust.project_manifest(found)
    reached = taken_from_host(found)
    if not arguments.remove and not arguments.json:
        for line in settings_of(found, "project"):
            print(line)
        print()
        for line in reached or ["it takes nothing from this host, and opens nothing to the network"]:
            print(shown(line))
        sys.stdout.flush()  # nobody approves what could not be shown
    if arguments.remove:
        trust.distrust(path)
    elif not arguments.show:
        trust.trust(path, found.digests["project"])
    approved = trust.is_trusted(found)
    if arguments.json:
        print_json({"path": str(path), "approved": approved, "reaches": reached})
    else:
        print(f"{shown(str(path))} is {'approved' if approved else 'not approved'}")
    return 0
