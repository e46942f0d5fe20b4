"""Identify processes beyond their pid, which the kernel gives to a new process after the old one has ended."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A process: its pid, and its start time in clock ticks since boot. No two processes share both."""

    pid: int
    start_time: int


def identify(pid: int) -> Identity | None:
    """Return the identity of the running process `pid`; None when it has ended, even if its zombie is left."""
    found = process_state(pid)
    return None if found is None or found[0] in b"ZX" else Identity(pid, found[1])


def process_state(pid: int) -> tuple[bytes, int] | None:
    """Return the state letter and the start time (clock ticks) of a process or zombie, None for neither: proc(5)."""
    try:
        stat = Path("/proc", str(pid), "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return fields[0], int(fields[19])


def alive(identity: Identity) -> bool:
    """Return whether this process still runs."""
    return identify(identity.pid) == identity


def kill(identity: Identity) -> None:
    """Send SIGKILL to this process and do not wait for its end; do nothing when it has ended."""
    with suppress(ProcessLookupError):
        watched = os.pidfd_open(identity.pid)
        try:
            if alive(identity):
                signal.pidfd_send_signal(watched, signal.SIGKILL)
        finally:
            os.close(watched)
