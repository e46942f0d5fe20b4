"""Find on this host what tests have left, and end it: processes, mounts, files and database records.

A namespace needs no search of its own: it ends with its last process, unless something is mounted on it.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from tests.waiting import until

_PERMANENT = {"pyro.db", "pyro.db.lock", "pyro.db-wal", "pyro.db-shm", "machines", "locks", "reserve"}


def processes_naming(folder: Path, *, anywhere: bool = False, proc: Path = Path("/proc")) -> list[str]:
    """Name every other process whose command line holds the path `folder`.

    With `anywhere`, its environment and its working folder count too, as far as this user may read them.
    """
    return [f"process {pid}: {words}" for pid, words in _processes(folder, anywhere=anywhere, proc=proc)]


def _processes(folder: Path, *, anywhere: bool, proc: Path) -> Iterator[tuple[int, str]]:
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
            yield int(path.name), words.replace(bytes(1), b" ").decode(errors="replace")


def end_processes_naming(folder: Path, *, grace_seconds: float = 30.0) -> list[str]:
    """Wait until no other process names `folder` anywhere; kill those that still do after `grace_seconds`, name them.

    What such a process writes below a folder makes the folder again after it was removed.
    """
    with suppress(AssertionError):
        until(
            f"no process names {folder}",
            lambda: processes_naming(folder, anywhere=True),
            lambda left: left == [],
            deadline_seconds=grace_seconds,
        )
    left = list(_processes(folder, anywhere=True, proc=Path("/proc")))
    for pid, _ in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return [f"process {pid}: {words}" for pid, words in left]


def until_makers_ended(home: Path) -> None:
    """Wait until no process makes a spare machine below `home` in the background."""

    def makers() -> list[str]:
        return [line for line in processes_naming(home) if "spare_maker.py" in line]

    until("no spare machine is being made", makers, lambda left: left == [])


def content_of(path: Path, *, most: int = 20) -> list[str]:
    """Name what is below a folder, at most `most` entries, for someone who asks which program made it."""
    below = sorted(str(one.relative_to(path)) + "/" * one.is_dir() for one in path.rglob("*"))
    return below[:most] + ([f"and {len(below) - most} more"] if len(below) > most else [])


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
