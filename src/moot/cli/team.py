"""moot up | exec | down | status | compact | attach | detach"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyro_mcp.command_line import Verbs, ago, print_json, shown, table, verb

if TYPE_CHECKING:
    from moot.team import RoleStatus, Team, TeamReport, TeamStatus

_FAILED = 1
_SHOWN = {
    "waiting": "waiting for permission",
    "waiting_for_you": "waiting for you",
    "already_running": "already running",
    "not_running": "not running",
    "not_started": "not started",
}
"""The states and outcomes that a person reads in other words."""
_KEPT = {
    "worktree": "{0.where} (branch {0.branch})",
    "changes": "{0.where} (what an agent changed in its bottle)",
    "container": "the devcontainer {0.where}",
}
_ROLE = "a role of moot.toml"


def add(verbs: Verbs) -> None:
    up = verb(verbs, "up", "start the agents of this project", _up, example="moot up --only product,qa")
    up.add_argument("--only", metavar="ROLES", help="start only these roles, separated by commas")
    one = verb(verbs, "exec", "start one agent", _exec, example="moot exec qa --prompt 'Test the branch spec/work.'")
    one.add_argument("role", metavar="ROLE", help=_ROLE)
    one.add_argument("--prompt", metavar="TEXT", help="its first prompt, instead of the one in moot.toml")
    down = verb(verbs, "down", "end all agents, or one; keep worktrees and branches", _down, example="moot down")
    down.add_argument("role", metavar="ROLE", nargs="?", help=f"{_ROLE} (default: all)")
    verb(verbs, "status", "show what waits for you, and what each agent does", _status, example="moot status")
    compact = verb(
        verbs, "compact", "tell agents to shorten their conversation", _compact, example="moot compact implementation"
    )
    compact.add_argument("role", metavar="ROLE", nargs="?", help=f"{_ROLE} (default: all that run)")
    attach = verb(verbs, "attach", "show an agent's terminal in yours", _attach, example="moot attach product")
    attach.add_argument("role", metavar="ROLE", help=_ROLE)
    detach = verb(verbs, "detach", "close the terminals that show an agent", _detach, example="moot detach product")
    detach.add_argument("role", metavar="ROLE", help=_ROLE)


def _team(arguments: argparse.Namespace) -> Team:
    from moot.team import Team  # noqa: PLC0415 - what a verb needs is imported when it runs

    return Team.of_folder(say=lambda text: print(text, file=sys.stderr if arguments.json else sys.stdout, flush=True))


def _team_to_end() -> Team:
    from moot.team import Team  # noqa: PLC0415

    return Team.to_end(say=lambda text: print(text, file=sys.stderr, flush=True))


def _up(arguments: argparse.Namespace) -> int:
    only = None if arguments.only is None else arguments.only.split(",")
    report = _team(arguments).up(only)
    status = _shown(report, arguments)
    if not arguments.json:
        online = sum(one.outcome != "failed" for one in report.roles)
        print(f"{online} of {len(report.roles)} agents run. Connect with 'moot attach ROLE' or check 'moot status'.")
    return status


def _exec(arguments: argparse.Namespace) -> int:
    return _shown(_team(arguments).exec(arguments.role, prompt=arguments.prompt), arguments)


def _down(arguments: argparse.Namespace) -> int:
    report = _team_to_end().down(arguments.role)
    status = _shown(report, arguments)
    if report.kept and not arguments.json:
        print("Kept, with the work in them:")
        for one in report.kept:
            print(f"  {shown(_KEPT[one.what].format(one))}")
    return status


def _compact(arguments: argparse.Namespace) -> int:
    return _shown(_team(arguments).compact(arguments.role), arguments)


def _attach(arguments: argparse.Namespace) -> int:
    return _team(arguments).attach(arguments.role)


def _detach(arguments: argparse.Namespace) -> int:
    report = _team(arguments).detach(arguments.role)
    status = _shown(report, arguments)
    if report.terminals is not None and not arguments.json:
        print(f"{report.terminals} terminals closed")
    return status


def _status(arguments: argparse.Namespace) -> int:
    found = _team(arguments).status()
    if arguments.json:
        print_json(asdict(found))
    else:
        print(_overview(found))
    return 0


def _shown(report: TeamReport, arguments: argparse.Namespace) -> int:
    """Print what was done with each role, failures on standard error; return the exit code."""
    if arguments.json:
        print_json(report.to_json())
    else:
        for one in report.roles:
            failed = one.outcome == "failed"
            line = f"{one.role}: {_SHOWN.get(one.outcome, one.outcome)}" + (
                f" in {one.session}" if one.outcome == "started" else ""
            )
            line += f": {one.message}" if one.message else ""
            stream = sys.stderr if failed else sys.stdout
            print(line, file=stream)
            if one.hint:
                print(f"  {one.hint}", file=stream)
    return _FAILED if report.failed else 0


def _overview(found: TeamStatus) -> str:
    lines = []
    if found.waiting:
        lines += ["Waits for you:"]
        for one in found.waiting:
            lines.append(f"  {shown(one.text)}" + (f"   ({one.command})" if one.command else ""))
        lines.append("")
    heading = ["ROLE", "STATE", "SINCE", "UNREAD", "HARNESS", "SESSION"]
    lines.append(table([heading, *(_row(one) for one in found.roles)]))
    if found.server_problem:
        lines += ["", f"Space server: {shown(found.server_problem)}"]
        lines += [f"  {shown(line)}" for line in found.server_hint.splitlines()]
    return "\n".join(lines)


def _row(one: RoleStatus) -> list[str]:
    state = _SHOWN.get(one.state, one.state) + (f" ({one.exit_code})" if one.exit_code is not None else "")
    values: list[Any] = [one.role, state, ago(one.since) if one.since else "-"]
    return [*values, "-" if one.unread is None else str(one.unread), one.harness or "-", one.session]
