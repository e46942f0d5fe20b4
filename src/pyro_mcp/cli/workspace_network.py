"""pyro workspace network info | log"""

from __future__ import annotations

import argparse
import time

import pyro_mcp
from pyro_mcp.cli.options import id_argument
from pyro_mcp.command_line import Verbs, print_json, shown, table, verb
from pyro_mcp.results import NetworkLogEntry, shown_attempt, shown_entry

_ID = "ws-0123456789ab"


def add(inner: Verbs) -> None:
    group = inner.add_parser("network", help="the network of a workspace and its log")
    verbs = group.add_subparsers(metavar="COMMAND", required=True)
    info = verb(
        verbs,
        "info",
        "show the current network: policy, allowed hosts, published ports",
        _info,
        example=f"pyro workspace network info {_ID}",
    )
    log = verb(
        verbs,
        "log",
        "show what it tried to reach, and why requests were refused",
        _log,
        example=f"pyro workspace network log {_ID}",
    )
    for parser in (info, log):
        id_argument(parser)
    log.add_argument("--limit", type=int, default=200, metavar="N", help="the newest N entries (default 200)")


def _info(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().network_info_workspace(arguments.workspace_id)
    if arguments.json:
        print_json(found)
        return 0
    print(f"{found['workspace_id']}  {found['network_policy']}  {found['state']}")
    for host in found["allow_hosts"]:
        print(f"  allowed      {shown_entry(host)}")
    for port in found["published_ports"]:
        print(f"  published    127.0.0.1:{port['host_port']} is port {port['guest_port']} of the guest")
    return 0


def _log(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().network_log_workspace(arguments.workspace_id, limit=arguments.limit)
    if arguments.json:
        print_json(found)
        return 0
    if not found["entries"]:
        print("no network requests yet")
        return 0
    rows = [("AT", "VERDICT", "WHAT", "WHERE", "WHY")]
    rows += [_row(entry) for entry in found["entries"]]
    print(table(rows))
    return 0


def _row(entry: NetworkLogEntry) -> tuple[str, str, str, str, str]:
    at = time.strftime("%H:%M:%S", time.localtime(entry["at"]))
    return at, entry["verdict"], entry["protocol"], shown(shown_attempt(entry)), shown(entry["reason"])
