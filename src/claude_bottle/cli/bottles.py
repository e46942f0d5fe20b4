"""claude-bottle list, status BOTTLE, stop BOTTLE"""

from __future__ import annotations

import argparse
import sys

from claude_bottle.bottles import Bottles
from claude_bottle.budget.report import use_text
from claude_bottle.cli.launch_options import bottle_argument
from claude_bottle.results import BottleInfo, StopReport
from pyro_mcp.command_line import Verbs, ago, print_json, shown, table, verb
from pyro_mcp.errors import InvalidRequest, PyroError


def add(verbs: Verbs) -> None:
    verb(verbs, "list", "list the bottles and the states of their agents", _list, example="claude-bottle list")
    status = verb(verbs, "status", "show what an agent is doing", _status, example="claude-bottle status claude-3f9a1c")
    bottle_argument(status)
    stop = verb(
        verbs,
        "stop",
        "end bottles and remove everything that belongs to them",
        _stop,
        example="claude-bottle stop reviewer-3f9a1c",
    )
    bottle_argument(stop, "*")
    stop.add_argument("--all", action="store_true", help="every bottle of this user")


def _list(arguments: argparse.Namespace) -> int:
    found = Bottles().list()
    if arguments.json:
        print_json(found)
        return 0
    if not found["bottles"]:
        print("no bottles; 'claude-bottle run AGENT' launches one")
        return 0
    rows = [["BOTTLE", "AGENT", "BACKEND", "LAUNCHED", "BUDGET", "STATE"]]
    rows += [
        [one["slug"], shown(one["agent"]), one["backend"], ago(one["created_at"]), _budget(one), _state(one)]
        for one in found["bottles"]
    ]
    if not any(one["budget"] for one in found["bottles"]):
        rows = [[*row[:4], row[5]] for row in rows]
    print(table(rows))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    found = Bottles().status(arguments.bottle)
    if arguments.json:
        print_json(found)
        return 0
    tree = f"began as a copy of {found['folder']}" if found["copied"] else "began empty"
    print(f"{found['slug']}: {_state(found)}")
    print(f"  agent {shown(found['agent'])} in bottle {shown(found['bottle'])}, on {found['backend']}")
    print(f"  launched {ago(found['created_at'])}; its tree {shown(tree)}")
    if found["login"]:
        print("  it has the login that is kept for its agent: its tokens are in the bottle")
    if found["budget"]:
        print(f"  budget used: {_budget(found)}")
    print(f"  next: {_next(found)}")
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    if bool(arguments.bottle) == arguments.all:
        raise InvalidRequest("stop needs the names of bottles, or --all", hint="'claude-bottle list' shows the bottles")
    bottles, done, failed = Bottles(), StopReport(stopped=[], remarks=[]), list[PyroError]()
    if arguments.all:
        done = bottles.stop_all()
    for name in arguments.bottle:
        try:
            one = bottles.stop(name)
            done = {"stopped": done["stopped"] + one["stopped"], "remarks": done["remarks"] + one["remarks"]}
        except PyroError as error:
            failed.append(error)
    if arguments.json and not failed:
        print_json(done)
    elif not arguments.json:
        for slug in done["stopped"]:
            print(f"{slug} is removed")
        for remark in done["remarks"]:
            print(f"claude-bottle: {shown(remark)}", file=sys.stderr)
    for other in failed[:-1]:
        print(f"claude-bottle: {shown(other.message)}", file=sys.stderr)
    if failed:
        raise failed[-1]
    return 0


def _state(info: BottleInfo) -> str:
    found = info["state"] if info["exit_code"] is None else f"ended with exit code {info['exit_code']}"
    return f"{found}: {shown('; '.join(info['problems']))}" if info["problems"] else found


def _budget(info: BottleInfo) -> str:
    return ", ".join(use_text(one) for one in info["budget"]) or "-"


def _next(info: BottleInfo) -> str:
    slug = info["slug"]
    if info["state"] == "ended":
        return f"'claude-bottle diff {slug}', 'claude-bottle export {slug} --output PATH', 'claude-bottle stop {slug}'"
    return f"'claude-bottle stop {slug}'" if info["state"] == "gone" else f"'claude-bottle attach {slug}'"
