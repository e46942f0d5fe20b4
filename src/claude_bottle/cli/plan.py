"""claude-bottle plan AGENT"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence

from claude_bottle.bottles import Bottles
from claude_bottle.budget.report import limit_text
from claude_bottle.cli.launch_options import launch_options
from claude_bottle.cli.manifest_option import loaded, manifest_option
from claude_bottle.results import PlannedGateRemote, PlannedHost, PlanReport
from pyro_mcp.command_line import Verbs, ago, paragraph, print_json, shown, size, table, verb
from pyro_mcp.errors import InvalidRequest

_LABEL = 13


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "plan",
        "show everything that a launch will do, without doing it",
        _plan,
        example="claude-bottle plan reviewer --copy-cwd",
    )
    launch_options(parser)
    manifest_option(parser)


def _plan(arguments: argparse.Namespace) -> int:
    report = Bottles(manifest=loaded(arguments)).plan(
        arguments.agent, backend=arguments.backend, copy_cwd=arguments.copy_cwd, args=arguments.command or ()
    )
    if arguments.json:
        print_json(report)
    else:
        print("\n".join(_lines(report)))
    return InvalidRequest.exit_code if report["problems"] else 0


def _lines(report: PlanReport) -> Iterator[str]:
    yield f"agent {shown(report['agent'])} in bottle {shown(report['bottle'])}, on {report['backend']}"
    yield ""
    for label, text in _facts(report):
        yield paragraph(f"{label:{_LABEL}}{shown(text)}", _LABEL)
    yield from _listed("network: the agent reaches only", _host_rows(report["hosts"]), "nothing")
    rows: list[Sequence[str]] = [("NAME", "FROM", "PLACE", "HOSTS")]
    rows += [
        (
            one["name"],
            one["source"],
            f"{one['placed']}, when approved" if one["ask"] else one["placed"],
            ", ".join(one["hosts"]),
        )
        for one in report["secrets"]
    ]
    yield from _listed("secrets: the agent gets placeholders; the gateway puts the values into requests", rows, "none")
    yield from _listed("steps:", [("#", "STEP"), *((str(n), one) for n, one in enumerate(report["steps"], 1))], "none")
    rows = [("KEY", "FILE"), *((one["key"], one["file"]) for one in report["origins"])]
    yield from _listed("keys of the manifest; all others have their defaults:", rows, "none")
    for title, lines in (("warnings", report["warnings"]), ("problems", report["problems"])):
        if lines:
            yield from ("", f"{title}:", *(paragraph(f"  {shown(one)}", 4) for one in lines))
    yield ""
    if report["problems"]:
        yield "a launch would fail for these problems"
    else:
        yield f"nothing was done; 'claude-bottle run {shlex.quote(report['agent'])}' launches the agent"


def _facts(report: PlanReport) -> Iterator[tuple[str, str]]:
    yield "command", shlex.join(report["command"])
    yield "environment", report["environment"]
    yield "packages", ", ".join(report["packages"]) or "none"
    resources = report["resources"]
    hours = f"{resources['ttl_seconds'] / 3600:g} h at most"
    yield "resources", f"{resources['vcpu_count']} CPUs, {resources['mem_mib']} MiB, for {hours}"
    copied = report["copied_folder"]
    yield "tree", f"a copy of {copied}" if copied else "empty; --copy-cwd copies the working folder in"
    yield "budget", ", ".join(map(limit_text, report["budget"])) or "no limit"
    yield "prompt", size(report["prompt_bytes"]) if report["prompt_bytes"] else "none"
    skills = [f"{one['name']} ({one['files']} files, {size(one['size_bytes'])})" for one in report["skills"]]
    yield "skills", ", ".join(skills) or "none"
    if login := report["login"]:
        kept = f"kept {ago(login['kept_at'])}" if login["kept_at"] else "not kept yet: log in in the bottle"
        yield "login", f"{kept}; its tokens enter the bottle, and stay on this host for the agent's next one"
    yield "variables", " ".join(f"{name}={shlex.quote(value)}" for name, value in report["variables"].items()) or "none"
    git = report["git"]
    person = f"{git['user_name']} <{git['user_email']}>"
    listed = ", ".join(f"{one['name']} {one['url']}" for one in git["remotes"])
    remotes = f"; remotes in the copy: {listed}" if listed else ""
    asks = ", ".join(report["may_ask_for"])
    yield "requests", f"the agent may ask you for: {asks}" if asks else "the agent may ask for nothing more"
    yield "git", f"commits are by {person}{remotes}; git's credentials are not copied"
    for remote in git["gate"]:
        yield "git remote", _gate_text(remote)


def _gate_text(remote: PlannedGateRemote) -> str:
    allowed = ["fetch"] if remote["fetch"] else []
    allowed += [
        f"push {rule['ref']}" + (" without asking" if rule["approve"] == "always" else "") for rule in remote["push"]
    ]
    return f"{remote['name']} is {remote['url']}: {', '.join(allowed) or 'nothing is allowed'}"


def _host_rows(hosts: Sequence[PlannedHost]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("HOST", "LIMITS", "WHY")]
    for one in hosts:
        limits = [*(one["methods"] or []), *(one["paths"] or [])]
        if one["upstream"]:
            limits.append(f"leads to {one['upstream']}")
        if one["meter"]:
            limits.append("requests count for the budget")
        rows.append((one["host"], " ".join(limits) or "-", one["reason"]))
    return rows


def _listed(title: str, rows: Sequence[Sequence[str]], nothing: str) -> Iterator[str]:
    """Yield a title and a table below it; the first row is the heading."""
    yield from ("", title)
    if len(rows) == 1:
        yield f"  {nothing}"
    else:
        yield "\n".join(f"  {line}" for line in table([[shown(cell) for cell in row] for row in rows]).splitlines())
