"""Processes that cannot be mistaken for others, although the kernel gives the number of an ended one to the next."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for another: its number, and when it started (clock ticks since boot)."""

    pid: int
    start_time: int


def identify(pid: int) -> Identity | None:
    """The identity of the running process `pid`; None when it has ended (also when only its zombie is left)."""
    found = process_state(pid)
    return None if found is None or found[0] in b"ZX" else Identity(pid, found[1])


def process_state(pid: int) -> tuple[bytes, int] | None:
    """The state letter and the start time of a process or zombie: proc(5)."""
    try:
        stat = Path("/proc", str(pid), "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return fields[0], int(fields[19])


def alive(identity: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def kill(identity: Identity) -> None:
    """Kill one process, unless it has ended."""
    with suppress(ProcessLookupError):
        watched = os.pidfd_open(identity.pid)
        try:
            if alive(identity):
                signal.pidfd_send_signal(watched, signal.SIGKILL)
        finally:
            os.close(watched)
