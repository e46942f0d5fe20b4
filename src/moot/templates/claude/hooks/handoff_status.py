"""Warn at the end of a turn in which the agent mentioned somebody and did not update its status.

Only calls of the tools count, as the transcript has them: a text that looks like one does not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

_SAYS = {"mcp__convo__share", "mcp__convo__post_response", "mcp__convo__reply_to", "mcp__convo__reply_to_thread"}
_STATUS = "mcp__convo__update_status"
_TAIL = 4 * 1024 * 1024
Json = dict[str, Any]


def main() -> None:
    """Read the calls of the last turn, and warn."""
    given = json.load(sys.stdin)
    path = given.get("transcript_path") if isinstance(given, dict) else None
    if not isinstance(path, str) or not os.path.isfile(path):
        return
    calls = _last_turn(path)
    said = [call for call in calls if call.get("name") in _SAYS and _mentions(call)]
    if said and not any(call.get("name") == _STATUS for call in calls):
        print(
            "WARNING: handoff message with mentions detected, but no update_status in this turn. "
            "Call update_status to say what you do now, or that you wait.",
            file=sys.stderr,
        )


def _mentions(call: Json) -> bool:
    given = call.get("input")
    return isinstance(given, dict) and bool(given.get("mentions"))


def _last_turn(path: str) -> list[Json]:
    """Return the tool calls since the last message of a person."""
    calls: list[Json] = []
    for entry in _entries(path):
        if entry.get("isSidechain"):
            continue
        content = _field(entry, "message", "content")
        if entry.get("type") == "user" and _is_prompt(entry, content):
            calls = []
        elif entry.get("type") == "assistant" and isinstance(content, list):
            calls += [one for one in content if isinstance(one, dict) and one.get("type") == "tool_use"]
    return calls


def _is_prompt(entry: Json, content: object) -> bool:
    """Return whether a user's entry begins a turn: no result of a tool, and no reminder of the harness."""
    if isinstance(content, list):
        texts = [one.get("text", "") for one in content if isinstance(one, dict) and one.get("type") == "text"]
        content = texts[0] if texts and len(texts) == len(content) else ""
    if not isinstance(content, str) or not content.strip():
        return False
    pushed = _field(entry, "origin", "kind") == "channel"
    return pushed or not (entry.get("isMeta") or content.lstrip().startswith("<system-reminder>"))


def _field(entry: Json, name: str, inner: str) -> object:
    value = entry.get(name)
    return value.get(inner) if isinstance(value, dict) else None


def _entries(path: str) -> Iterator[Json]:
    with open(path, "rb") as file:
        begin = max(0, os.path.getsize(path) - _TAIL)
        file.seek(begin)
        for number, line in enumerate(file):
            if number == 0 and begin:
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


if __name__ == "__main__":
    main()
