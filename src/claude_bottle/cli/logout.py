"""claude-bottle logout AGENT"""

from __future__ import annotations

import argparse

from claude_bottle.bottles import Bottles
from pyro_mcp.command_line import Verbs, print_json, shown, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "logout",
        "remove the login that is kept for an agent from this host",
        _logout,
        example="claude-bottle logout reviewer",
    )
    parser.add_argument("agent", metavar="AGENT", help="an agent with 'login': 'keep' in the manifest")


def _logout(arguments: argparse.Namespace) -> int:
    found = Bottles().logout(arguments.agent)
    if arguments.json:
        print_json(found)
        return 0
    print(f"the login of {shown(found['agent'])} is removed from this host; its provider still accepts it")
    for slug in found["still_in"]:
        print(f"{slug} still has it: 'claude-bottle stop {slug}' ends that bottle")
    return 0
