"""The place of the database of requests, which the guards of this user and the commands of persons share."""

from __future__ import annotations

from pathlib import Path

from pyro_mcp.host.files import private_directory, state_home


def guard_folder() -> Path:
    """Return the folder of the database, made if missing; it has no other files, because the guards watch it."""
    return private_directory(state_home("claude-bottle") / "guard")


def guard_database() -> Path:
    """Return the path of the database; it need not exist."""
    return guard_folder() / "guard.db"
