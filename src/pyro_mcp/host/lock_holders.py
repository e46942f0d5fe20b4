"""Find the processes that hold a lock on a file, and name them in errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import Busy


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock; a suspended one keeps it until somebody resumes or ends the process."""

    pid: int
    name: str
    suspended: bool


def lock_holders(path: Path, *, byte: int | None = None) -> list[Holder]:
    """Return the processes that hold an flock on `path`, or with `byte` a POSIX write lock on that byte of it.

    The list is empty when no process holds one, and where /proc/locks does not show it: proc_locks(5).
    """
    try:
        found = path.stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    holders = []
    for line in lines:
        words = line.split()
        if len(words) != 8 or words[5] != file:  # the line of a waiting process has nine words
            continue
        _, kind, _, access, pid, _, first, last = words
        if byte is None:
            wanted = kind == "FLOCK"
        else:
            wanted = (
                kind == "POSIX" and access == "WRITE" and int(first) <= byte and (last == "EOF" or byte <= int(last))
            )
        if wanted and int(pid) > 0 and (holder := _holder(int(pid))) is not None:
            holders.append(holder)
    return holders


def busy_error(what: str, holders: Sequence[Holder]) -> Busy:
    """Return the error to raise when `holders` still lock `what` at a deadline."""
    if not holders:
        return Busy(f"{what} is in use by another process", hint="wait for it to finish and try again")
    names = " and ".join(f"process {one.pid} ({one.name}{', suspended' if one.suspended else ''})" for one in holders)
    suspended = " ".join(str(one.pid) for one in holders if one.suspended)
    hint = f"'kill -CONT {suspended}' resumes it, 'kill -KILL {suspended}' ends it; then try again" if suspended else ""
    return Busy(f"{what} is in use by {names}", hint=hint or "wait for it to finish and try again")


def _holder(pid: int) -> Holder | None:
    """Return what is known of process `pid`; None when it has ended."""
    with suppress(OSError, ValueError, IndexError):
        stat = Path("/proc", str(pid), "stat").read_text(errors="replace")
        name, _, rest = stat.partition("(")[2].rpartition(")")
        return Holder(pid, name, rest.split()[0] in "Tt")
    return None
