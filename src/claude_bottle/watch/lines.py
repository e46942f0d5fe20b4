"""The text of the screen: one line for each agent, request and decision.

Every text of an agent has its control, bidirectional and invisible characters escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from claude_bottle.audit import Entry
from claude_bottle.budget.report import use_text
from claude_bottle.results import BottleInfo, RequestInfo
from pyro_mcp.command_line import until
from pyro_mcp.visible import visible_line

_LONGEST_CELL = 400


def agent_lines(bottles: Sequence[BottleInfo]) -> list[str]:
    """Return one line for each bottle: name, state, what it has used of its budget, backend, kind of bottle."""
    return _aligned(
        [
            (one["slug"], _state(one), ", ".join(map(use_text, one["budget"])), one["backend"], one["bottle"])
            for one in bottles
        ]
    )


def request_lines(requests: Sequence[RequestInfo]) -> list[str]:
    """Return one line for each request: reference, bottle, when it is denied by itself, what it would allow."""
    return _aligned([(one["reference"], one["slug"], until(one["expires_at"]), one["allows"]) for one in requests])


def decision_line(entry: Entry) -> str:
    """Return one line: time, bottle, what was decided, who decided, by which rule."""
    at = datetime.fromtimestamp(entry.at, UTC).astimezone().strftime("%H:%M:%S")
    text = f"{at}  {entry.slug}  {entry.kind} {entry.decision} by {entry.who}: {entry.rule}"
    return visible_line(text, _LONGEST_CELL)


def _state(info: BottleInfo) -> str:
    if info["exit_code"] is not None:
        return f"ended with {info['exit_code']}"
    return f"{info['state']}: {'; '.join(info['problems'])}" if info["problems"] else info["state"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines; columns that are empty in all rows are left out."""
    shown = [[visible_line(cell, _LONGEST_CELL) for cell in row] for row in rows]
    widths = [max((len(row[column]) for row in shown), default=0) for column in range(len(shown[0]) if shown else 0)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip() for row in shown
    ]
