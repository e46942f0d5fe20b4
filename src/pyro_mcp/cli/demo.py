"""pyro demo [ollama]"""

from __future__ import annotations

import argparse

import pyro_mcp
from pyro_mcp.cli import demo_ollama
from pyro_mcp.cli.options import accelerator_option
from pyro_mcp.command_line import Verbs, print_json, progress_line, table, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs, "demo", "create, start, use and delete one machine, with timings", _demo, example="pyro demo --json"
    )
    parser.add_argument("--environment", metavar="ENV", default="debian:12", help="default: debian:12")
    accelerator_option(parser)
    demo_ollama.add(parser.add_subparsers(title="commands", metavar="COMMAND", help="without it, the demo itself runs"))


def _demo(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        report = pyro_mcp.Pyro(progress=line).demo(arguments.environment, accelerator=arguments.accelerator)
    if arguments.json:
        print_json(report)
        return 0
    print(report["stdout"], end="")
    steps = (("create", "create_ms"), ("start", "start_ms"), ("exec", "exec_ms"), ("delete", "delete_ms"))
    rows = [("STEP", "MS"), *((name, f"{report[key]:.0f}") for name, key in steps)]  # type: ignore[literal-required]
    print(table(rows))
    print(f"{report['execution_mode']} on {report['accelerator']}")
    return 0
