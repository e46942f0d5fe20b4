"""Name the processes that hold a file's lock, for those who wait for it."""

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
    """The processes that hold an flock on `path`, or with `byte` a POSIX lock for writing on that byte of it.

    Empty when nobody does, and where the kernel does not say: proc_locks(5).
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
        if len(words) != 8 or words[5] != file:  # a line of a process that waits has one word more
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


def waiting_for(what: str, holders: Sequence[Holder]) -> Busy:
    """The error of a process that has waited long enough for `what`."""
    if not holders:
        return Busy(f"{what} is in use by another process", hint="wait for it to finish and try again")
    named = " and ".join(f"process {one.pid} ({one.name}{', suspended' if one.suspended else ''})" for one in holders)
    asleep = " ".join(str(one.pid) for one in holders if one.suspended)
    hint = f"'kill -CONT {asleep}' resumes it, 'kill -KILL {asleep}' ends it; then try again" if asleep else ""
    return Busy(f"{what} is in use by {named}", hint=hint or "wait for it to finish and try again")


def _holder(pid: int) -> Holder | None:
    """The process; None when it has ended meanwhile."""
    with suppress(OSError, ValueError, IndexError):
        stat = Path("/proc", str(pid), "stat").read_text(errors="replace")
        name, _, rest = stat.partition("(")[2].rpartition(")")
        return Holder(pid, name, rest.split()[0] in "Tt")
    return None
