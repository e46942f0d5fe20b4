"""pyro workspace adopt | reap-expired"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pyro_mcp
from pyro_mcp.command_line import Verbs, print_json, verb
from pyro_mcp.results import UnknownWorkspace


def add(inner: Verbs) -> None:
    adopt = verb(
        inner,
        "adopt",
        "record workspaces that are on the disk but not in the database",
        _adopt,
        example="pyro workspace adopt ws-0123456789ab",
    )
    adopt.add_argument(
        "workspace_id", metavar="WORKSPACE_ID", nargs="?", help="as 'pyro workspace list' shows it; default: all"
    )
    verb(
        inner,
        "reap-expired",
        "delete workspaces and machines whose time is over, and what dead processes left",
        _reap_expired,
        example="pyro workspace reap-expired",
    )


def show_unknown(unknown: Sequence[UnknownWorkspace]) -> None:
    """Print the workspaces that the database does not know, and what to do about them."""
    if not unknown:
        return
    print("\non the disk, but not in the database:")
    for one in unknown:
        about = one["problem"] or " ".join(filter(None, ["running" if one["running"] else "", one["name"]]))
        print(f"  {one['workspace_id']}  {about}".rstrip())
    print("'pyro workspace adopt' takes them back, 'pyro workspace delete ID' removes one for good")


def _adopt(arguments: argparse.Namespace) -> int:
    done = pyro_mcp.Pyro().adopt_workspace(arguments.workspace_id)
    if arguments.json:
        print_json(done)
        return 0
    for one in done["workspaces"]:
        print(f"{one['workspace_id']} is adopted: {one['state']} {one['name'] or ''}".rstrip())
    if not done["workspaces"]:
        print("there is nothing to adopt")
    show_unknown(done.get("unknown", []))
    return 0


def _reap_expired(arguments: argparse.Namespace) -> int:
    done = pyro_mcp.Pyro().reap_expired()
    problems = done.get("problems", [])
    if arguments.json:
        print_json(done)
    else:
        for id_ in done["deleted"]:
            print(f"{id_} is deleted")
        if not done["deleted"]:
            print("nothing has expired")
    for one in problems:
        print(f"{one['id']} is left: {one['problem']}", file=sys.stderr)
    return 1 if problems else 0
