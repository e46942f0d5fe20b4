"""pyro host connect | print-config | doctor | repair | disconnect"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import pyro_mcp
from pyro_mcp.cli.serve_options import add_serve_options, serve_options
from pyro_mcp.command_line import Verbs, in_command_words, paragraph, print_json, shown, verb
from pyro_mcp.errors import HostNotReady
from pyro_mcp.results import ChatHostChange, ChatHostDoctor, ChatHostProblem

_NETWORK = (
    "Allow workspaces to reach public hosts on the internet, for example to install packages? This host and private "
    "networks stay denied unless an allow list names them. A workspace with internet access can also send its files "
    "out. [y/N]"
)
_SAID = {
    "added": "connected",
    "replaced": "connected anew",
    "unchanged": "is connected already",
    "removed": "disconnected",
    "absent": "was not connected",
}


def add(verbs: Verbs) -> None:
    group = verbs.add_parser("host", help="connect Claude Code, Codex and OpenCode with 'pyro mcp serve'")
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    connect = verb(inner, "connect", "connect a chat host to pyro", _connect, example="pyro host connect claude-code")
    printed = verb(
        inner,
        "print-config",
        "print the settings to paste into a chat host",
        _print_config,
        example="pyro host print-config opencode --write",
    )
    doctor = verb(
        inner, "doctor", "check each chat host's connection, and try the server", _doctor, example="pyro host doctor"
    )
    repair = verb(
        inner,
        "repair",
        "make a chat host's entry start this pyro installation",
        _repair,
        example="pyro host repair claude-code",
    )
    disconnect = verb(
        inner,
        "disconnect",
        "remove pyro from a host's settings",
        _disconnect,
        example="pyro host disconnect claude-code",
    )
    printed.add_argument(
        "--write", action="store_true", help="write the entry into the host's settings instead of printing it"
    )
    for parser in (connect, printed, repair, disconnect):
        parser.add_argument("host", metavar="HOST", help="claude-code, codex or opencode")
    for parser in (connect, printed, doctor, repair, disconnect):
        parser.add_argument("--name", default="pyro", help="the server's name in the host's settings (default pyro)")
    for parser in (connect, printed):
        add_serve_options(parser, results="text")
        parser.add_argument(
            "--allow",
            action="store_true",
            help="let the host use all tools without asking each time, workspace_export too",
        )


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"name": arguments.name, **serve_options(arguments)}


def _connect(arguments: argparse.Namespace) -> int:
    given = _given(arguments)
    on_terminal = sys.stdin.isatty() and sys.stderr.isatty() and not arguments.json
    # Ask only if the host is installed: otherwise `connect_host` refuses, whatever the answer.
    if given["network_policy"] is None and on_terminal and pyro_mcp.Pyro().host_config(arguments.host)["program"]:
        given["network_policy"] = "egress" if _agrees(_NETWORK) else "off"
    return _tell(arguments, pyro_mcp.Pyro().connect_host(arguments.host, allow=arguments.allow, **given))


def _agrees(question: str) -> bool:
    print(paragraph(question, indent=0), end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print_config(arguments: argparse.Namespace) -> int:
    if arguments.write:
        return _connect(arguments)
    told = pyro_mcp.Pyro().host_config(arguments.host, **_given(arguments))
    if arguments.json:
        print_json(told)
    else:
        print(told["config"], end="")
    return 0


def _repair(arguments: argparse.Namespace) -> int:
    return _tell(arguments, pyro_mcp.Pyro().repair_host(arguments.host, name=arguments.name))


def _disconnect(arguments: argparse.Namespace) -> int:
    return _tell(arguments, pyro_mcp.Pyro().disconnect_host(arguments.host, name=arguments.name))


def _tell(arguments: argparse.Namespace, change: ChatHostChange) -> int:
    if arguments.json:
        print_json(change)
        return 0
    print(f"{change['host']} {_SAID[change['outcome']]}: {change['name']} in {change['settings']}")
    if change["command"]:
        print(f"  starts  {shown(' '.join(change['command']))}")
    for variable, value in change["environment"].items():
        print(f"  with    {variable}={shown(value)}")
    if change["tool_count"] is not None:
        print(f"  tested: it offers {change['tool_count']} tools")
        print(f"  {_approval(change)}")
    return 0


def _approval(change: ChatHostChange) -> str:
    if change["allowed"]:
        return "the host uses them without asking"
    return f"the host may ask before each use; 'pyro host connect {change['host']} --allow' stops that"


def _doctor(arguments: argparse.Namespace) -> int:
    report: ChatHostDoctor = in_command_words(pyro_mcp.Pyro().doctor_hosts(name=arguments.name))
    if arguments.json:
        print_json(report)
        return 0 if report["ready"] else HostNotReady.exit_code
    for host in report["hosts"]:
        server = host["server"]
        tried = f"{server['tool_count']} tools, answered in {server['answered_ms']:.0f} ms" if server else ""
        print(f"{host['host']:11}  {host['status']:13}  {tried or shown(host['version'])}".rstrip())
        for line in _problem_lines(host["problems"]):
            print(paragraph(f"{'':13}{shown(line)}"))
    print("\nready" if report["ready"] else "\nnot ready: 'pyro host connect HOST' connects one")
    return 0 if report["ready"] else HostNotReady.exit_code


def _problem_lines(problems: list[ChatHostProblem]) -> list[str]:
    """Return the lines of each problem and its remedy; a remedy of several problems stands once, below the last one."""
    lines = [line for problem in problems for line in (problem["message"], *problem["hint"].splitlines())]
    return [line for at, line in enumerate(lines) if line not in lines[at + 1 :]]
