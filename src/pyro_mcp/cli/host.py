"""pyro host connect | print-config | doctor | repair | disconnect"""

from __future__ import annotations

import argparse
from typing import Any

import pyro_mcp
from pyro_mcp.cli.options import Verbs, verb
from pyro_mcp.cli.render import paragraph, print_json, shown
from pyro_mcp.errors import HostNotReady
from pyro_mcp.results import ChatHostChange

_OPTIONS = ("profile", "mode", "project_path", "repo_url", "repo_ref", "no_project_source")
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
    connect = verb(
        inner, "connect", "have a chat host start our server", _connect, example="pyro host connect claude-code"
    )
    printed = verb(
        inner,
        "print-config",
        "print what belongs into a host's settings",
        _print_config,
        example="pyro host print-config opencode --write",
    )
    doctor = verb(
        inner, "doctor", "say how each host stands with our server, and try it", _doctor, example="pyro host doctor"
    )
    repair = verb(inner, "repair", "have a host start this pyro again", _repair, example="pyro host repair claude-code")
    disconnect = verb(inner, "disconnect", "undo connect", _disconnect, example="pyro host disconnect claude-code")
    printed.add_argument("--write", action="store_true", help="write it there instead, beside what the user has")
    for parser in (connect, printed, repair, disconnect):
        parser.add_argument("host", metavar="HOST", help="claude-code, codex or opencode")
    for parser in (connect, printed, doctor, repair, disconnect):
        parser.add_argument("--name", default="pyro", help="what the host calls the server (default pyro)")
    for parser in (connect, printed):
        _serve_options(parser)


def _serve_options(parser: argparse.ArgumentParser) -> None:
    """What the entry passes on to `pyro mcp serve`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--profile", metavar="NAME", help="the tools that the server offers")
    which.add_argument("--mode", metavar="NAME", help="the tools for one way of working")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--project-path", metavar="DIR", help="what workspaces begin as, wherever the host is started")
    source.add_argument("--repo-url", metavar="URL", help="a repository that workspaces begin as, cloned afresh")
    source.add_argument("--no-project-source", action="store_true", help="workspaces begin empty")
    parser.add_argument("--repo-ref", metavar="REF", help="the branch, tag or commit of --repo-url")


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"name": arguments.name, **{option: getattr(arguments, option) for option in _OPTIONS}}


def _connect(arguments: argparse.Namespace) -> int:
    return _tell(arguments, pyro_mcp.Pyro().connect_host(arguments.host, **_given(arguments)))


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
        print(f"  which was tried, and offers {change['tool_count']} tools")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    report = pyro_mcp.Pyro().doctor_hosts(name=arguments.name)
    if arguments.json:
        print_json(report)
        return 0 if report["ready"] else HostNotReady.exit_code
    for host in report["hosts"]:
        server = host["server"]
        tried = f"{server['tool_count']} tools, answered in {server['answered_ms']:.0f} ms" if server else ""
        print(f"{host['host']:11}  {host['status']:13}  {tried or shown(host['version'])}".rstrip())
        for problem in host["problems"]:
            for line in [problem["message"], *problem["hint"].splitlines()]:
                print(paragraph(f"{'':13}{shown(line)}"))
    print("\nready" if report["ready"] else "\nnot ready: 'pyro host connect HOST' connects one")
    return 0 if report["ready"] else HostNotReady.exit_code
