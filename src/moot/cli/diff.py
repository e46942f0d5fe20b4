"""moot diff ROLE [--apply]"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from pyro_mcp.command_line import Verbs, print_json, shown, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "diff",
        "show what the agent of a role has changed in its bottle, or commit that to its branch",
        _diff,
        example="moot diff qa --apply",
    )
    parser.add_argument("role", metavar="ROLE", help="a role of moot.toml")
    parser.add_argument(
        "--apply", action="store_true", help="commit the changes to the branch ROLE/work, in the role's worktree"
    )


def _diff(arguments: argparse.Namespace) -> int:
    from moot.team import Team  # noqa: PLC0415 - what a verb needs is imported when it runs

    found = Team.of_folder().diff(arguments.role, apply=arguments.apply)
    if arguments.json:
        print_json(asdict(found))
        return 0
    if arguments.apply:
        print(f"committed {found.commit} to the branch of {shown(found.role)}" if found.commit else "nothing new")
    elif not found.patch:
        print("no changes", file=sys.stderr)
    elif sys.stdout.isatty():
        print("\n".join(map(shown, found.patch.splitlines())))
    else:  # byte for byte: 'git apply' reads it
        sys.stdout.flush()
        sys.stdout.buffer.write(found.patch.encode(errors="surrogateescape"))
    for one in found.left_out:
        print(f"moot: not in the patch: {shown(one)}", file=sys.stderr)
    return 0
