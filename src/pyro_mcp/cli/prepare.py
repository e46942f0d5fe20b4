"""pyro prepare"""

from __future__ import annotations

import argparse

import pyro_mcp
from pyro_mcp.cli.options import accelerator_option
from pyro_mcp.command_line import Verbs, print_json, progress_line, table, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "prepare",
        "prepare an environment for fast starts, and test it with a throw-away machine",
        _prepare,
        example="pyro prepare debian:12",
    )
    parser.add_argument("environment", nargs="?", default="debian:12", help="default: debian:12")
    accelerator_option(parser, "what the environment is prepared for")


def _prepare(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        report = pyro_mcp.Pyro(progress=line).prepare(arguments.environment, accelerator=arguments.accelerator)
    if arguments.json:
        print_json(report)
        return 0
    print(f"{report['environment']} {report['environment_version']}: {report['outcome']}, on {report['accelerator']}")
    steps = (("create", "create_ms"), ("exec", "exec_ms"), ("reset", "reset_ms"), ("delete", "delete_ms"))
    rows = [("STEP", "MS"), ("cold boot", f"{report['cold_boot_ms']:.0f}")]
    rows += [(name, f"{report[key]:.0f}") for name, key in steps]  # type: ignore[literal-required]
    print(table(rows))
    print("\nnext: 'pyro host connect claude-code' (or codex, or opencode);")
    print("from then on 'pyro workspace reset' is the normal way to try again")
    return 0
