"""The text of the screen: one line for each agent, request and decision, and all of one request.

Every text of an agent has its control, bidirectional and invisible characters escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from claude_bottle.audit import Entry
from claude_bottle.request_facts import request_facts
from claude_bottle.results import BottleInfo, RequestInfo
from claude_bottle.visible import visible, visible_line
from pyro_mcp.command_line import until


def agent_line(info: BottleInfo, budget: str) -> str:
    """Return one line: bottle, state, budget, backend, manifest's bottle."""
    state = info["state"] if info["exit_code"] is None else f"ended with {info['exit_code']}"
    problem = f": {info['problem']}" if info["problem"] else ""
    where = f"{info['backend']}, bottle {info['bottle']}"
    return visible_line(f"{info['slug']:<26}  {state:<22}  {budget or '-':<12}  {where}{problem}", 300)


def request_line(one: RequestInfo) -> str:
    """Return one line: reference, bottle, when it is denied by itself, and what it would allow."""
    return visible_line(
        f"{one['reference']:<13}  {one['slug']:<22}  {until(one['expires_at']):<9}  {one['allows']}", 400
    )


def request_text(one: RequestInfo) -> str:
    """Return all of a request: exactly what an approval allows, for how long, who asks and why."""
    facts = "\n".join(f"{name + ':':<19} {text}" for name, text in request_facts(one))
    return f"{visible(one['allows'])}\n{facts}"


def push_text(parts: Sequence[tuple[str, str]]) -> str:
    """Return the remarks, log and changes of a held push, below each other."""
    return "".join(f"\n\n{title}:\n{text}" for title, text in parts)


def decision_line(entry: Entry) -> str:
    """Return one line: time, bottle, what was decided, who decided, by which rule."""
    at = datetime.fromtimestamp(entry.at, UTC).astimezone().strftime("%H:%M:%S")
    return visible_line(f"{at}  {entry.bottle:<22}  {entry.kind} {entry.decision} by {entry.who}: {entry.rule}", 400)
