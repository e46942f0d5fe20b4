"""pyro doctor"""

from __future__ import annotations

import argparse
import textwrap

import pyro_mcp
from pyro_mcp.cli.options import accelerator_option
from pyro_mcp.command_line import Verbs, in_command_words, paragraph, print_json, verb
from pyro_mcp.errors import HostNotReady
from pyro_mcp.results import DoctorCheck, DoctorReport

_INDENT = 26 * " "


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "doctor",
        "check what this host has and what is missing",
        _doctor,
        example="pyro doctor --environment debian:12",
    )
    parser.add_argument(
        "--environment",
        default="debian:12",
        metavar="ENV",
        help="also show how soon a machine of ENV can start (default debian:12)",
    )
    accelerator_option(parser, "what shall run machines")


def _doctor(arguments: argparse.Namespace) -> int:
    report: DoctorReport = in_command_words(
        pyro_mcp.Pyro().doctor(arguments.environment, accelerator=arguments.accelerator)
    )
    if arguments.json:
        print_json(report)
        return 0 if report["ready"] else HostNotReady.exit_code
    for check in report["checks"]:
        mark = "ok" if check["ok"] else "note" if check["needed_for"] else "MISS"
        only = f" (needed for {check['needed_for']} only)" if _costs_a_feature(check) else ""
        print(_wrapped(f"{mark:4}  {check['name']:19} ", f"{check['detail']}{only}"))
        if check["hint"]:
            print(_wrapped(_INDENT, check["hint"]))
    print()
    print(paragraph(f"accelerator: {report['accelerator']} ({report['accelerator_reason']})"))
    if report["environment"]:
        found = report["environment"]
        print(paragraph(f"{found['environment']}: {found['readiness']}{'; ' if found['hint'] else ''}{found['hint']}"))
    if report["install_command"]:
        print(f"\nTo install what is missing:\n  {report['install_command']}")
    print(f"\n{_verdict(report)}")
    print(f"next: {_next_step(report)}")
    return 0 if report["ready"] else HostNotReady.exit_code


def _wrapped(begin: str, text: str) -> str:
    """Return `begin` and `text` on lines of 80 columns, but a command to copy on one line."""
    if "sudo " in text:
        return begin + text
    return textwrap.fill(
        text,
        width=80,
        initial_indent=begin,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verdict(report: DoctorReport) -> str:
    """Return whether machines run here, and which features are missing."""
    if not report["ready"]:
        return "not ready"
    missing = dict.fromkeys(check["needed_for"] for check in report["checks"] if _costs_a_feature(check))
    return f"ready to run machines, but without: {', '.join(missing)}" if missing else "ready to run machines"


def _costs_a_feature(check: DoctorCheck) -> bool:
    return not check["ok"] and check["needed_for"] not in ("", check["name"])


def _next_step(report: DoctorReport) -> str:
    """Return the next step of the daily loop: doctor, prepare, connect a chat host, reset."""
    if not report["ready"]:
        return "fix each MISS as described, then run 'pyro doctor' again"
    found = report["environment"]
    if found and found["readiness"] != "warm":
        return f"'pyro prepare {found['environment']}'"
    return "'pyro host connect claude-code' (or codex, or opencode)"
