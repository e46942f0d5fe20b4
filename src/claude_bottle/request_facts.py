"""What a person must see of a request before deciding, for the screen and the page: exact, every character visible."""

from __future__ import annotations

import json
import time

from claude_bottle.results import RequestInfo
from claude_bottle.visible import visible


def request_facts(one: RequestInfo) -> list[tuple[str, str]]:
    """Return the facts of a request, each with its name."""
    left = max(0.0, one["expires_at"] - time.time())
    asker = visible(one["agent"]) if one["asked_by"] == "agent" else "the guard, because a connection was refused"
    return [
        ("bottle", visible(one["slug"])),
        ("asked by", asker),
        ("its reason", visible(one["reason"]) or "(none)"),
        ("exact rule", visible(json.dumps(one["rule"], ensure_ascii=False, sort_keys=True))),
        ("an approval lasts", span(one["grant_seconds"])),
        ("denied in", f"{span(left)}, if nobody decides"),
        ("request", visible(one["reference"])),
    ]


def span(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} s"
