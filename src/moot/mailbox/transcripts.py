"""The transcript of a harness as evidence of what its agent has read.

A transcript is a file of JSON lines. A line with the type `queue-operation` is about a message that the harness has
received, and that no turn has read yet (Claude Code 2.1.329).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

_TOKEN = re.compile(r"ofr_[0-9a-f]{24}")
_MOST_BYTES = 64 * 1024 * 1024
_QUEUED = "queue-operation"


def tokens_in(text: str) -> set[str]:
    """Return the tokens of offers that are in a text."""
    return set(_TOKEN.findall(text))


def conversation(transcript: Path, start: int) -> tuple[str, int]:
    """Return the lines with tokens that a conversation has after a byte of its file, and the byte after the last line.

    A file that was replaced by a shorter one is read from its beginning; one that does not exist has no lines.
    """
    try:
        with transcript.open("rb") as file:
            size = file.seek(0, 2)
            start = start if start <= size else 0
            file.seek(max(start, size - _MOST_BYTES))
            data = file.read(_MOST_BYTES)
    except OSError:
        return "", start
    whole, newline, _rest = data.rpartition(b"\n")
    lines = [line for line in whole.split(b"\n") if b"ofr_" in line and not _waits(line)]
    return b"\n".join(lines).decode(errors="replace"), max(start, size - _MOST_BYTES) + len(whole) + len(newline)


def _waits(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and entry.get("type") == _QUEUED
