"""claude-bottle audit, audit verify"""

from __future__ import annotations

import argparse
import re
import time
from datetime import UTC, datetime

from claude_bottle.bottles import Bottles
from pyro_mcp.command_line import Verbs, paragraph, print_json, progress_line, shown, table, verb
from pyro_mcp.errors import Conflict

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SHOWN_RULE = 60


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "audit",
        "show the decisions about what bottles may do: who decided, when, and by which rule",
        _audit,
        example="claude-bottle audit --since 2h --kind push\nclaude-bottle audit verify",
    )
    parser.add_argument(
        "--since",
        type=_moment,
        default=0.0,
        metavar="TIME",
        help="only decisions since then: 30m, 2h, 3d, or a time such as 2026-03-01T09:00",
    )
    parser.add_argument("--slug", default="", metavar="SLUG", help="only decisions about this launched bottle")
    parser.add_argument(
        "--bottle", default="", metavar="NAME", help="only decisions about launches of this bottle of the manifest"
    )
    parser.add_argument(
        "--kind", default="", metavar="KIND", help="only this kind: egress, secret, push, approval, budget, ..."
    )
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="at most the last N (default 1000)")
    verify = verb(
        parser.add_subparsers(title="commands", metavar="COMMAND", help="without a command, decisions are shown"),
        "verify",
        "check that no line of the journal was changed, removed, added or moved",
        _verify,
        example="claude-bottle audit verify",
    )
    verify.add_argument(
        "--mark",
        default="",
        metavar="N:HASH",
        help="the mark that an earlier check printed; the journal must still have that line",
    )


def _audit(arguments: argparse.Namespace) -> int:
    found = Bottles().audit(
        since=arguments.since,
        slug=arguments.slug,
        bottle=arguments.bottle,
        kind=arguments.kind,
        limit=arguments.limit,
    )
    if arguments.json:
        print_json(found)
        return 0
    if found["omitted"]:
        print(f"({found['omitted']} earlier decisions are left out; --limit shows more)")
    rows = [("AT", "SLUG", "KIND", "DECISION", "WHO", "RULE")]
    for one in found["entries"]:
        at = datetime.fromtimestamp(one["at"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        rule = shown(one["rule"][:_SHOWN_RULE])
        rows.append((at, shown(one["slug"]), shown(one["kind"]), shown(one["decision"]), shown(one["who"]), rule))
    print(table(rows) if len(rows) > 1 else "no decisions")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        found = Bottles().audit_verify(
            mark=arguments.mark, progress=lambda lines, fraction: line(f"{lines:,} lines", fraction)
        )
    if arguments.json:
        print_json(found)
        return 0 if found["intact"] else Conflict.exit_code
    for one in found["problems"]:
        print(paragraph(shown(one["message"])))
    if found["intact"]:
        print(f"{found['lines']} lines, none changed, missing or moved")
        print(f"  mark: {found['mark']}")
        print(paragraph("  keep the mark elsewhere: 'audit verify --mark' later finds a journal that was written anew"))
        return 0
    print(f"{found['problem_count']} problems in {found['lines']} lines of {found['journal']}")
    return Conflict.exit_code


def _moment(text: str) -> float:
    """Return a time in seconds since 1970, from a duration before now or an ISO 8601 time."""
    if (found := re.fullmatch(r"(\d{1,6})([smhdw])", text)) is not None:
        return time.time() - int(found[1]) * _UNITS[found[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a duration such as 30m, 2h or 3d, nor a time such as 2026-03-01T09:00"
        ) from error
