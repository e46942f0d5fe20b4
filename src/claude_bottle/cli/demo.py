"""claude-bottle demo"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress

from claude_bottle.backend.table import BACKENDS, DEFAULT_BACKEND
from claude_bottle.bottles import Bottles
from claude_bottle.results import DemoReport
from pyro_mcp.command_line import Verbs, paragraph, print_json, shown, table, verb

_DEMO = (
    "Show a bottle, without an account: the real Claude Code repairs a repository with a failing test.\n\n"
    "A script on this host stands in for the model. The first run builds the environment debian:12-agent, which takes "
    "some minutes; later runs take about a minute."
)


def add(verbs: Verbs) -> None:
    parser = verb(verbs, "demo", "show a bottle, without an account", _demo, example="claude-bottle demo")
    parser.description = _DEMO
    parser.add_argument(
        "--backend",
        default=DEFAULT_BACKEND,
        metavar="NAME",
        help=f"where the bottle runs: {', '.join(BACKENDS)} (default {DEFAULT_BACKEND})",
    )


def _demo(arguments: argparse.Namespace) -> int:
    def say(message: str) -> None:
        # Some messages come from a thread of the script's server. If nobody reads them, the report at the end fails.
        with suppress(BrokenPipeError):
            if not arguments.json:
                print(paragraph(f"  {shown(message)}", 4), flush=True)

    if not arguments.json:
        print("Claude Code repairs a repository with a failing test, in a bottle. A script stands in for its model.\n")
    report = Bottles(say=say).demo(backend=arguments.backend)
    if arguments.json:
        print_json(report)
    else:
        _show(report)
    return 0


def _show(report: DemoReport) -> None:
    print("\nthe agent says:")
    print("\n".join(f"  {line}" for line in report["output"].splitlines()))
    print("\nwhat it changed ('claude-bottle diff'):")
    print("\n".join(f"  {shown(line)}" for line in report["diff"].splitlines()))
    print("\nwhat it was refused ('claude-bottle logs'):")
    for one in report["refused"]:
        port = "" if one["port"] is None else f":{one['port']}"
        print(paragraph(f"  {shown(one['host'])}{port}: {shown(one['reason'])}", 4))
    print("\nits API key:")
    print(paragraph(f"  the agent has {shown(report['placeholder'])}", 4))
    arrived = "the model got the real key, from the gateway"
    print(f"  {arrived if report['key_arrived'] else 'the model did NOT get the real key'}")
    print("\nhow long it took:")
    rows = [("STEP", "SECONDS"), *((one["name"], f"{one['seconds']:.1f}") for one in report["steps"])]
    print("\n".join(f"  {line}" for line in table(rows).splitlines()))
    print("\nnext: 'claude-bottle init' writes a manifest of your own", file=sys.stderr)
