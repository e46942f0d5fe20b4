"""claude-bottle logs BOTTLE"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime

from claude_bottle.bottles import Bottles
from claude_bottle.cli.launch_options import bottle_argument
from claude_bottle.results import LogsReport
from pyro_mcp.command_line import Verbs, paragraph, print_json, shown, table, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "logs",
        "show an agent's last output and its refused connections",
        _logs,
        example="claude-bottle logs reviewer-3f9a1c --network",
    )
    bottle_argument(parser)
    parser.add_argument("--network", action="store_true", help="show all connections instead of the output")


def _logs(arguments: argparse.Namespace) -> int:
    found = Bottles().logs(arguments.bottle, connections=arguments.network)
    if arguments.json:
        print_json(found)
        return 0
    if arguments.network:
        rows = [("AT", "VERDICT", "TO", "REASON"), *(_connection(one) for one in found["connections"])]
        print(table(rows) if len(rows) > 1 else "the agent has opened no connection")
        return 0
    print(found["output"] or "(no output yet)")
    for line in _refused(found):
        print(line)
    return 0


def _refused(found: LogsReport) -> Iterator[str]:
    if not found["refused"]:
        return
    yield ""
    yield "refused:"
    for one in found["refused"]:
        where = shown(one["host"] or "an unnamed host") + (f":{one['port']}" if one["port"] is not None else "")
        times = "once" if one["count"] == 1 else f"{one['count']} times"
        yield paragraph(f"  {where} ({times}): {shown(one['reason'])}", 4)
        if one["hint"]:
            yield paragraph(f"    {shown(one['hint'])}", 4)


def _connection(entry: dict[str, object]) -> tuple[str, str, str, str]:
    at = entry.get("at")
    moment = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S") if isinstance(at, int | float) else "-"
    where = f"{entry.get('name') or entry.get('address') or '-'}:{entry.get('port') or '-'}"
    return moment, str(entry.get("verdict", "-")), shown(where), shown(str(entry.get("reason") or "-"))
