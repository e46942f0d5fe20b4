"""pyro workspace snapshot create | list | delete"""

from __future__ import annotations

import argparse

import pyro_mcp
from pyro_mcp.cli.options import id_argument
from pyro_mcp.command_line import Verbs, ago, print_json, table, verb

_ID = "ws-0123456789ab"


def add(inner: Verbs) -> None:
    group = inner.add_parser("snapshot", help="create, list and delete snapshots").add_subparsers(
        metavar="COMMAND", required=True
    )
    create = verb(
        group,
        "create",
        "save /workspace as a snapshot, and the rest of / only with --with-system",
        _create,
        example=f"pyro workspace snapshot create {_ID} green",
    )
    listing = verb(group, "list", "list them", _list, example=f"pyro workspace snapshot list {_ID}")
    delete = verb(group, "delete", "delete a snapshot", _delete, example=f"pyro workspace snapshot delete {_ID} green")
    create.add_argument(
        "--with-system", action="store_true", help="also save installed packages, and restore them on reset"
    )
    for parser in (create, listing, delete):
        id_argument(parser)
    for parser in (create, delete):
        parser.add_argument("snapshot_name", metavar="NAME", help="letters, digits, '-', '_' and '.'")


def _create(arguments: argparse.Namespace) -> int:
    done = pyro_mcp.Pyro().create_snapshot(
        arguments.workspace_id, arguments.snapshot_name, with_system=arguments.with_system
    )
    if arguments.json:
        print_json(done)
    else:
        print(f"{done['snapshot']['snapshot_name']} is kept")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().list_snapshots(arguments.workspace_id)
    if arguments.json:
        print_json(found)
        return 0
    rows = [("NAME", "KIND", "SYSTEM", "MADE")]
    rows += [
        (one["snapshot_name"], one["kind"], "yes" if one["with_system"] else "no", ago(one["created_at"]))
        for one in found["snapshots"]
    ]
    print(table(rows))
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    done = pyro_mcp.Pyro().delete_snapshot(arguments.workspace_id, arguments.snapshot_name)
    if arguments.json:
        print_json(done)
    else:
        print(f"{done['snapshot_name']} is deleted")
    return 0
