"""What machines own on the host, looked for from outside."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

_PERMANENT = {"pyro.db", "pyro.db.lock", "pyro.db-wal", "pyro.db-shm", "machines", "locks", "reserve"}


def remains(home: Path) -> list[str]:
    """Every process, socket, file, lock, mount and record of machines whose state is below `home`."""
    state = home / "state/pyro-mcp"
    found = [str(path) for path in state.rglob("*") if path.name not in _PERMANENT and path.parent.name != "reserve"]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(home) in line]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.fsencode(home) in words and path.parent.name != str(os.getpid()):
            found.append(f"{path.parent.name}: {words.replace(bytes(1), b' ').decode(errors='replace')}")
    return found + [f"record {row[0]}" for row in query(home, "SELECT id FROM machines")]


def let_time_pass(home: Path) -> None:
    """Have every machine's time be over."""
    query(home, "UPDATE machines SET expires_at = 0, boot_id = NULL")


def query(home: Path, statement: str) -> list[tuple[object, ...]]:
    """Run one statement on the database below `home`."""
    with closing(sqlite3.connect(home / "state/pyro-mcp/pyro.db", timeout=10)) as database, database:
        return database.execute(statement).fetchall()
