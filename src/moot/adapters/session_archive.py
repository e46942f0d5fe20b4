"""A summary of a session of Claude Code, from its transcript."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pyro_mcp.errors import PyroError
from pyro_mcp.host.process import run

_SESSION_VARIABLES = ("CLAUDE_CODE_SESSION_ID", "CLAUDE_SESSION_ID")
_GIT_SECONDS = 10.0


def find_transcript(home: Path, folder: Path, *, known: str | None = None) -> Path | None:
    """Return the transcript of this session; else the newest one of a folder; None when there is none."""
    name = str(folder).replace("/", "-")
    places = [home / ".claude/projects" / one for one in (name, name.lstrip("-"))]
    for variable in _SESSION_VARIABLES:
        session = os.environ.get(variable, "")
        if session and "/" not in session:
            for place in places:
                if (found := place / f"{session}.jsonl").is_file():
                    return found
    if known is not None and Path(known).is_file():
        return Path(known)
    all_of_them = [one for place in places for one in place.glob("*.jsonl")]
    return max(all_of_them, key=lambda one: one.stat().st_mtime, default=None)


def describe(transcript: Path, *, role: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Return a summary of a transcript in five lines, and its figures."""
    entries = [one for one in _lines(transcript) if one.get("type") in ("user", "assistant")]
    stamps = sorted(str(one["timestamp"]) for one in entries if one.get("timestamp"))
    blocks = [block for one in entries for block in _blocks(one)]
    models = [
        one["message"]["model"] for one in entries if isinstance(one.get("message"), dict) and "model" in one["message"]
    ]
    first, last = (stamps[0], stamps[-1]) if stamps else (None, None)
    figures = {
        "message_count": len(entries),
        "user_count": sum(one["type"] == "user" for one in entries),
        "tool_use_count": sum(block.get("type") == "tool_use" for block in blocks),
        "duration_seconds": _seconds(first, last),
        "model": models[-1] if models else None,
        "first_timestamp": first,
        "last_timestamp": last,
        "path": str(transcript),
        "size_bytes": transcript.stat().st_size,
        "git_branch": _branch(folder),
        "role": role,
    }
    lines = (
        f"Session {transcript.stem} of {role}",
        f"Duration: {figures['duration_seconds']} s",
        f"Messages: {figures['message_count']}, tool calls: {figures['tool_use_count']}",
        f"Model: {figures['model'] or 'unknown'}",
        f"Branch: {figures['git_branch'] or 'none'}",
    )
    return "\n".join(lines), figures


def _lines(transcript: Path) -> Iterator[dict[str, Any]]:
    with transcript.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line, which is being written
            if isinstance(entry, dict):
                yield entry


def _blocks(entry: dict[str, Any]) -> list[dict[str, Any]]:
    message = entry.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []


def _seconds(first: str | None, last: str | None) -> int:
    if first is None or last is None:
        return 0
    try:
        return int((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds())
    except (ValueError, TypeError):
        return 0


def _branch(folder: Path) -> str | None:
    try:
        argv = ["git", "-C", str(folder), "branch", "--show-current"]
        done = run(argv, deadline_seconds=_GIT_SECONDS, check=False)
    except PyroError:
        return None
    return done.stdout.decode(errors="replace").strip() or None
