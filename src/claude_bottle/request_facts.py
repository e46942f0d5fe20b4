"""The facts of a request that a person needs to decide, on every surface, with every character visible."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Protocol

from claude_bottle.results import HeldPushReport, RequestInfo
from pyro_mcp.visible import visible

_LONGEST_TEXT = 256 * 1024


class HeldPushes(Protocol):
    """The source of held pushes; `Bottles` is one."""

    def held_push(self, reference: str) -> HeldPushReport: ...


def request_facts(one: RequestInfo) -> list[tuple[str, str]]:
    """Return the facts of a request, each with its name."""
    left = max(0.0, one["expires_at"] - time.time())
    asker = visible(one["agent"]) if one["asked_by"] == "agent" else "the guard, because a connection was refused"
    return [
        ("exact rule", visible(json.dumps(one["rule"], ensure_ascii=False, sort_keys=True))),
        ("bottle", visible(one["slug"])),
        ("asked by", asker),
        ("its reason", visible(one["reason"]) or "(none)"),
        ("an approval lasts", span(one["grant_seconds"])),
        ("denied in", f"{span(left)}, if nobody decides"),
        ("request", visible(one["reference"])),
    ]


def push_texts(source: HeldPushes, one: RequestInfo) -> list[tuple[str, str]]:
    """Return the summary, log and changes of a held push, each with its title; nothing for another request.

    Raises `NotFound` when the push cannot be shown; then nobody should decide about it.
    """
    if one["kind"] != "push":
        return []
    return [(title, _cut(text, one["reference"])) for title, text in held_texts(source.held_push(one["reference"]))]


def held_texts(held: HeldPushReport) -> list[tuple[str, str]]:
    """Return the summary, log and changes of a held push in full, each with its title."""
    summary = "\n".join([held["summary"], *(f"NOTE {remark}" for remark in held["remarks"])])
    texts = [("push", summary), ("log", held["log"]), ("changes", held["diff"])]
    return [(title, visible(text, keep="\n\t")) for title, text in texts if text]


def request_text(one: RequestInfo, push: Sequence[tuple[str, str]] = ()) -> str:
    """Return all of a request: what an approval allows, for how long, who asks and why; then its held push."""
    facts = "".join(f"\n{name}: {text}" for name, text in request_facts(one))
    return f"{visible(one['allows'])}{facts}{titled(push)}"


def titled(texts: Sequence[tuple[str, str]]) -> str:
    """Return texts below their titles."""
    return "".join(f"\n\n{title}:\n{text}" for title, text in texts)


def span(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} s"


def _cut(text: str, reference: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    left = len(text) - _LONGEST_TEXT
    return f"{text[:_LONGEST_TEXT]}\n[{left} more characters: 'claude-bottle pending {reference}' shows them]"
