"""pyro workspace service start | list | status | logs | stop"""

from __future__ import annotations

import argparse

import pyro_mcp
from pyro_mcp.cli.options import id_argument
from pyro_mcp.cli.secret_options import given_secret_env, secret_env_option
from pyro_mcp.command_line import Verbs, ago, print_json, progress_line, shown, table, verb
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.results import PortWanted, ServiceInfo

_ID = "ws-0123456789ab"


def add(inner: Verbs) -> None:
    group = inner.add_parser("service", help="programs in the background").add_subparsers(
        metavar="COMMAND", required=True
    )
    _add_start(group)
    listing = verb(group, "list", "list them", _list, example=f"pyro workspace service list {_ID}")
    status = verb(group, "status", "show a service", _status, example=f"pyro workspace service status {_ID} app")
    logs = verb(group, "logs", "show a service's output", _logs, example=f"pyro workspace service logs {_ID} app")
    stop = verb(
        group,
        "stop",
        "stop a service and everything it started",
        _stop,
        example=f"pyro workspace service stop {_ID} app",
    )
    for parser in (listing, status, logs, stop):
        id_argument(parser)
    for parser in (status, logs, stop):
        parser.add_argument("service_name", metavar="NAME", help="as it was started")
    logs.add_argument("--tail-lines", type=int, default=200, metavar="N", help="the last N lines (default 200)")
    logs.add_argument("--all", action="store_true", help="everything that is stored")


def _add_start(group: Verbs) -> None:
    parser = verb(
        group,
        "start",
        "start a program in the background and wait until it is ready",
        _start,
        example=f"pyro workspace service start {_ID} app \\\n"
        "    --command 'python3 -m http.server 8080' --ready-tcp 8080",
    )
    parser.usage = "pyro workspace service start [options] WORKSPACE_ID NAME --command LINE"
    id_argument(parser)
    parser.add_argument("service_name", metavar="NAME", help="letters, digits, '-' and '_'")
    parser.add_argument(
        "--command", required=True, dest="service_command", metavar="LINE", help="the command, for /bin/sh"
    )
    parser.add_argument("--cwd", default="/workspace", metavar="PATH", help="working directory (default /workspace)")
    ready = parser.add_mutually_exclusive_group()
    ready.add_argument("--ready-file", metavar="PATH", help="ready when this file exists")
    ready.add_argument("--ready-tcp", type=int, metavar="PORT", help="ready when something listens on this port")
    ready.add_argument("--ready-http", metavar="URL", help="ready when this URL in the guest answers")
    ready.add_argument("--ready-command", metavar="LINE", help="ready when this command succeeds")
    parser.add_argument(
        "--ready-status", type=int, metavar="CODE", help="with --ready-http: the expected status (default 200)"
    )
    parser.add_argument(
        "--ready-timeout-seconds", type=float, default=30, metavar="S", help="give up after S seconds (default 30)"
    )
    parser.add_argument(
        "--ready-interval-ms", type=float, default=500, metavar="MS", help="longest pause between checks (default 500)"
    )
    parser.add_argument(
        "--publish",
        action="append",
        default=[],
        metavar="[HOST:]GUEST",
        help="publish a guest port on 127.0.0.1 of the host, on any free port or on HOST; may be repeated",
    )
    secret_env_option(parser)


def _start(arguments: argparse.Namespace) -> int:
    readiness, ports = _readiness(arguments), [_port(word) for word in arguments.publish]
    with progress_line() as line:
        line(f"waiting until {arguments.service_name} is ready")
        started = pyro_mcp.Pyro(progress=line).start_service(
            arguments.workspace_id,
            arguments.service_name,
            command=arguments.service_command,
            cwd=arguments.cwd,
            readiness=readiness,
            ready_timeout_seconds=arguments.ready_timeout_seconds,
            ready_interval_ms=arguments.ready_interval_ms,
            secret_env=given_secret_env(arguments),
            published_ports=ports,
        )
    return _show(arguments, started)


def _readiness(arguments: argparse.Namespace) -> dict[str, object] | None:
    if arguments.ready_status is not None and arguments.ready_http is None:
        raise InvalidRequest("--ready-status is for --ready-http")
    if arguments.ready_http is not None:
        status = 200 if arguments.ready_status is None else arguments.ready_status
        return {"type": "http", "url": arguments.ready_http, "status": status}
    for kind, key, value in (
        ("file", "path", arguments.ready_file),
        ("tcp", "port", arguments.ready_tcp),
        ("command", "command", arguments.ready_command),
    ):
        if value is not None:
            return {"type": kind, key: value}
    return None


def _port(word: str) -> PortWanted:
    host, colon, guest = word.rpartition(":")
    if not guest.isdigit() or (colon and not host.isdigit()):
        raise InvalidRequest(f"--publish takes GUEST or HOST:GUEST, two port numbers, not {word!r}")
    return {"host_port": int(host) if colon else None, "guest_port": int(guest)}


def _list(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().list_services(arguments.workspace_id)
    if arguments.json:
        print_json(found)
        return 0
    if not found["services"]:
        print(f"no services; 'pyro workspace service start {arguments.workspace_id} NAME --command …' starts one")
        return 0
    rows = [("NAME", "STATE", "STARTED", "PORTS", "COMMAND")]
    rows += [
        (one["service_name"], _state(one), ago(one["started_at"]), _ports(one) or "-", shown(_command(one)))
        for one in found["services"]
    ]
    print(table(rows))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    return _show(arguments, pyro_mcp.Pyro().status_service(arguments.workspace_id, arguments.service_name))


def _logs(arguments: argparse.Namespace) -> int:
    found = pyro_mcp.Pyro().logs_service(
        arguments.workspace_id, arguments.service_name, tail_lines=arguments.tail_lines, all=arguments.all
    )
    if arguments.json:
        print_json(found)
        return 0
    for text in (found["stdout"], found["stderr"]):
        if text:
            print(text, end="" if text.endswith("\n") else "\n")
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    return _show(arguments, pyro_mcp.Pyro().stop_service(arguments.workspace_id, arguments.service_name))


def _show(arguments: argparse.Namespace, info: ServiceInfo) -> int:
    if arguments.json:
        print_json(info)
        return 0
    print(f"{info['service_name']}  {_state(info)}")
    rows = {"command": shown(_command(info)), "folder": shown(info["cwd"]), "ports": _ports(info)}
    for name, value in (rows | {"failure": shown(info["failure"] or "")}).items():
        if value:
            print(f"  {name:12} {value}")
    return 0


def _command(info: ServiceInfo) -> str:
    return info["command"] if isinstance(info["command"], str) else " ".join(info["command"])


def _state(info: ServiceInfo) -> str:
    return info["state"] if info["exit_code"] is None else f"{info['state']} ({info['exit_code']})"


def _ports(info: ServiceInfo) -> str:
    return ", ".join(f"127.0.0.1:{one['host_port']} → {one['guest_port']}" for one in info["published_ports"])
