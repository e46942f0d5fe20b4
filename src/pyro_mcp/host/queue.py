"""A first-come, first-served queue of processes and threads. A process that dies leaves the queue.

Each waiter has a ticket: a file whose name holds the time of its creation, locked as long as its owner lives.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pyro_mcp.host.folder_watch import watch_folder

# Seconds. An event can be too early: the kernel reports the close of a file just before it drops the file's locks.
_LOOK_AGAIN = 0.25

Taken = TypeVar("Taken")


def wait_in_turn(folder: Path, name: str, take: Callable[[], Taken | None], deadline_seconds: float) -> Taken | None:
    """Wait until this caller is first in the queue and `take` returns a value; return that value.

    Callers with the same `folder` and `name` form one queue. `take` must not block; it is called again whenever a file
    in `folder` is deleted, or closed after writing. Returns None after `deadline_seconds`. Raises `FileNotFoundError`
    when `folder` does not exist.
    """
    if not _tickets(folder, name) and (taken := take()) is not None:
        return taken
    end = time.monotonic() + deadline_seconds
    with watch_folder(folder) as events, _ticket(folder, name) as own:
        while True:
            if _first(folder, name, own) and (taken := take()) is not None:
                return taken
            left = end - time.monotonic()
            if left <= 0:
                return None
            events.wait(min(left, _LOOK_AGAIN))


def _tickets(folder: Path, name: str) -> list[str]:
    """Return the names of all tickets, oldest first."""
    return sorted(one for one in os.listdir(folder) if one.endswith(f".{name}"))


@contextmanager
def _ticket(folder: Path, name: str) -> Iterator[str]:
    """Make a ticket for the time of the block; yields its name."""
    while True:
        # The clock is the same for all processes, and never goes back.
        own = f"{time.clock_gettime_ns(time.CLOCK_MONOTONIC):020d}-{secrets.token_hex(4)}.{name}"
        fd = os.open(folder / own, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if (folder / own).exists():  # another waiter removes a ticket that is not locked yet
                yield own
                return
        finally:
            with suppress(FileNotFoundError):
                os.unlink(folder / own)
            os.close(fd)


def _first(folder: Path, name: str, own: str) -> bool:
    """Return whether `own` is the oldest ticket of a live process; remove the tickets of dead ones."""
    for ticket in _tickets(folder, name):
        if ticket == own:
            return True
        with suppress(FileNotFoundError):
            fd = os.open(folder / ticket, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                os.unlink(folder / ticket)
            except BlockingIOError:
                return False
            finally:
                os.close(fd)
    return True
