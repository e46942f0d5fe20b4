"""moot demo"""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict

from pyro_mcp.command_line import Verbs, paragraph, print_json, shown, table, verb

_DEMO = (
    "Show a hand-off between two real Claude Code agents, without an account.\n\n"
    "A script on this host stands in for their models. Everything runs in a folder of its own, and is removed at the "
    "end. The first run downloads Claude Code if it is not installed; later runs take about a minute."
)


def add(verbs: Verbs) -> None:
    parser = verb(verbs, "demo", "show a team at work, without an account", _demo, example="moot demo")
    parser.description = _DEMO


def _demo(arguments: argparse.Namespace) -> int:
    from moot.demo import demonstrate  # noqa: PLC0415 - the HTTP library is slow to import

    def say(message: str) -> None:
        # Some messages come from a thread of the script's server. If nobody reads them, the report at the end fails.
        with suppress(BrokenPipeError):
            if not arguments.json:
                print(paragraph(f"  {shown(message)}", 4), flush=True)

    if not arguments.json:
        print(paragraph("Two Claude Code agents meet in a space. A script stands in for their models.\n", 0))
    report = demonstrate(say)
    if arguments.json:
        print_json(asdict(report))
        return 0
    print("\nwhat they said to each other:")
    for one in report.messages:
        print(paragraph(f"  {one['from']} to {one['to']}: {shown(' '.join(one['text'].split()))}", 4))
        print(f"    read {one['read']} time(s), {shown(one['delivery'])} at the server")
    print("\nhow long it took:")
    rows = [("STEP", "SECONDS"), *((one["name"], f"{one['seconds']:.1f}") for one in report.steps)]
    print("\n".join(f"  {line}" for line in table(rows).splitlines()))
    print("\nnext: 'moot serve', then 'moot login' and 'moot init' in a project of your own")
    return 0
