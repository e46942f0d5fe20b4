"""claude-bottle pending, approve REQUEST, deny REQUEST"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from claude_bottle.bottles import Bottles
from claude_bottle.results import PendingReport, RequestInfo
from pyro_mcp.command_line import Verbs, ago, paragraph, print_json, shown, verb


def add(verbs: Verbs) -> None:
    pending = verb(
        verbs,
        "pending",
        "show what agents ask for and nobody has decided; with REQUEST, the log and the diff of that push",
        _pending,
        example="claude-bottle pending\nclaude-bottle pending r7-3f9a1c2b",
    )
    pending.add_argument("request", metavar="REQUEST", nargs="?", help="a held push, of which all is shown")
    approve = verb(
        verbs,
        "approve",
        "allow exactly what an agent asked for, for a limited time",
        _approve,
        example="claude-bottle approve r7-3f9a1c2b",
    )
    deny = verb(verbs, "deny", "refuse what an agent asked for", _deny, example="claude-bottle deny r7-3f9a1c2b")
    for parser in (approve, deny):
        parser.add_argument("request", metavar="REQUEST", help="the request, as 'claude-bottle pending' names it")


def _pending(arguments: argparse.Namespace) -> int:
    if arguments.request:
        return _held_push(arguments)
    found = Bottles().pending()
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(_lines(found)))
    return 0


def _held_push(arguments: argparse.Namespace) -> int:
    found = Bottles().held_push(arguments.request)
    if arguments.json:
        print_json(found)
    else:
        remarks = [f"NOTE {one}" for one in found["remarks"]]
        print("\n".join([found["summary"], *remarks, "", found["log"], found["diff"]]))
    return 0


def _approve(arguments: argparse.Namespace) -> int:
    done = Bottles().approve(arguments.request)
    if arguments.json:
        print_json(done)
    else:
        print(f"{done['slug']} may {done['allows']}, for {_span(done['grant_seconds'])}")
    return 0


def _deny(arguments: argparse.Namespace) -> int:
    done = Bottles().deny(arguments.request)
    if arguments.json:
        print_json(done)
    else:
        print(f"{done['slug']} may not {done['allows']}")
    return 0


def _lines(found: PendingReport) -> Iterator[str]:
    for one in found["requests"]:
        yield from _request_lines(one)
        yield ""
    if found["requests"]:
        yield "'claude-bottle approve REQUEST' allows exactly that, 'claude-bottle deny REQUEST' refuses it"
    else:
        yield "no agent waits for a decision"
    for excess in found["excess"]:
        text = f"{excess['slug']} asked {excess['count']} times more than a bottle may, last {ago(excess['last_at'])}"
        yield paragraph(shown(text))


def _request_lines(one: RequestInfo) -> Iterator[str]:
    left = max(0.0, one["expires_at"] - time.time())
    yield f"{one['reference']}  {one['slug']} asks to"
    yield paragraph(f"  {shown(one['allows'])}, for {_span(one['grant_seconds'])}", 4)
    if one["asked_by"] == "agent":
        yield paragraph(f"  its reason: {shown(one['reason']) or '(none)'}", 4)
    else:
        yield "  asked by the guard, because the connection was refused"
    if one["kind"] == "push":
        yield f"  its log and diff: claude-bottle pending {one['reference']}"
    yield f"  asked {ago(one['asked_at'])}; denied in {_span(left)} if nobody decides"


def _span(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} s"
