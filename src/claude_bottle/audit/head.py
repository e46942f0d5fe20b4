"""The head of a journal: the number, hash and end of its last line, in a file of constant size beside it.

The writers of the journal change it in place with one write, so it needs no space on a full disk, and a killed process
leaves either the old head or the new one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from claude_bottle.audit.line import FIRST_PREVIOUS

_SIZE = 200


@dataclass(frozen=True)
class Head:
    """The last line of a journal: its number, its hash, where in the file it ends, and the latest time so far."""

    count: int = 0
    own: str = FIRST_PREVIOUS
    end: int = 0
    latest: float = 0.0


def read_head(path: Path) -> Head | None:
    """Return the head; None if there is none, or it is damaged."""
    try:
        found = json.loads(path.read_bytes()[:_SIZE])
        head = Head(int(found["count"]), str(found["hash"]), int(found["end"]), float(found["latest"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None
    return head if head.count >= 0 and head.end >= 0 and len(head.own) == len(FIRST_PREVIOUS) else None


def write_head(path: Path, head: Head) -> None:
    """Write the head in place; the first one is flushed to disk. Raises `OSError`."""
    fields = {"count": head.count, "hash": head.own, "end": head.end, "latest": round(head.latest, 6)}
    content = json.dumps(fields).ljust(_SIZE - 1).encode() + b"\n"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        is_new = os.fstat(fd).st_size == 0
        written = os.pwrite(fd, content, 0)
        if written != len(content):
            raise OSError(f"wrote only {written} of {len(content)} bytes of {path}")
        if is_new:
            os.fsync(fd)
    finally:
        os.close(fd)
