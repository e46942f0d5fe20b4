"""claude-bottle pending, approve REQUEST, deny REQUEST"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from claude_bottle.bottles import Bottles
from claude_bottle.request_facts import held_texts, request_text, span, titled
from claude_bottle.results import PendingReport, RequestInfo
from pyro_mcp.command_line import Verbs, ago, paragraph, print_json, verb
from pyro_mcp.visible import visible


def add(verbs: Verbs) -> None:
    pending = verb(
        verbs,
        "pending",
        "show the open requests of agents; with REQUEST, the log and the diff of that push",
        _pending,
        example="claude-bottle pending\nclaude-bottle pending r7-3f9a1c2b",
    )
    pending.add_argument("request", metavar="REQUEST", nargs="?", help="a held push, to show its log and its diff")
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
        print(titled(held_texts(found)).strip("\n"))
    return 0


def _approve(arguments: argparse.Namespace) -> int:
    done = Bottles().approve(arguments.request)
    if arguments.json:
        print_json(done)
    else:
        print(f"{visible(done['slug'])} may {visible(done['allows'])}, for {span(done['grant_seconds'])}")
    return 0


def _deny(arguments: argparse.Namespace) -> int:
    done = Bottles().deny(arguments.request)
    if arguments.json:
        print_json(done)
    else:
        print(f"{visible(done['slug'])} may not {visible(done['allows'])}")
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
        yield paragraph(visible(text))


def _request_lines(one: RequestInfo) -> Iterator[str]:
    """Yield all of a request; no line is broken, because an exact rule could be read differently then."""
    yield f"{visible(one['reference'])}  asked {ago(one['asked_at'])}"
    yield from (f"  {line}" for line in request_text(one).splitlines())
    if one["kind"] == "push":
        yield f"  its log and changes: claude-bottle pending {visible(one['reference'])}"
