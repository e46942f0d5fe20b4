"""A queue of processes and threads, first come, first served, that one who dies leaves too.

Each who waits has a ticket: a file whose name says when it was made, locked as long as its owner lives.
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

from pyro_mcp.host.changes import changes

# Should an event get lost: the kernel tells of the close of a file just before it drops the locks on it.
_LOOK_AGAIN = 0.25

Taken = TypeVar("Taken")


def wait_in_turn(folder: Path, name: str, take: Callable[[], Taken | None], deadline_seconds: float) -> Taken | None:
    """What `take` returns as soon as that is something, called for whoever has waited longest; None when it is late.

    `take` is tried whenever a file in `folder` is deleted, or closed after writing. Those with the same `name` are one
    queue. Raises `FileNotFoundError` when the folder is gone.
    """
    if not _tickets(folder, name) and (taken := take()) is not None:
        return taken
    end = time.monotonic() + deadline_seconds
    with changes(folder) as events, _ticket(folder, name) as own:
        while True:
            if _first(folder, name, own) and (taken := take()) is not None:
                return taken
            left = end - time.monotonic()
            if left <= 0:
                return None
            events.wait(min(left, _LOOK_AGAIN))


def _tickets(folder: Path, name: str) -> list[str]:
    """The names of all tickets, oldest first."""
    return sorted(one for one in os.listdir(folder) if one.endswith(f".{name}"))


@contextmanager
def _ticket(folder: Path, name: str) -> Iterator[str]:
    """The name of a new ticket, removed with the block."""
    while True:
        # The clock is the same for all processes, and never goes back.
        own = f"{time.clock_gettime_ns(time.CLOCK_MONOTONIC):020d}-{secrets.token_hex(4)}.{name}"
        fd = os.open(folder / own, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if (folder / own).exists():  # before it was locked, it could be taken for a dead one's
                yield own
                return
        finally:
            with suppress(FileNotFoundError):
                os.unlink(folder / own)
            os.close(fd)


def _first(folder: Path, name: str, own: str) -> bool:
    """Whether nobody who still lives has an older ticket; those of the dead are removed."""
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
