"""The presence of a bottle's guard: the guard holds a lock, which the kernel releases however the guard ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from claude_bottle.guard.settings import guard_dir

SOCKET = "supervisor"
"""The name of the socket for the gateway in the guard's folder."""
_FILE = "alive"


def hold_presence(folder: Path, guard: str) -> int:
    """Hold the lock of the guard with this name until this process ends; return its descriptor."""
    descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, f"{guard} {os.getpid()}".encode())
    return descriptor


def present_guard(folder: Path) -> tuple[str, int] | None:
    """Return the name and the process id of the guard that runs with this folder; None if none does."""
    try:
        descriptor = os.open(folder / _FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        name, _, pid = os.pread(descriptor, 200, 0).decode().partition(" ")
        return (name, int(pid)) if pid.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def is_alive(slug: str, guard: str) -> bool:
    """Return whether the guard with this name runs for a bottle."""
    found = present_guard(guard_dir(slug))
    return found is not None and found[0] == guard


def guard_problem(slug: str) -> str:
    """Return why a running bottle has no network any more; "" while its guard runs, or when it has none."""
    folder = guard_dir(slug)
    if not (folder / SOCKET).exists() or present_guard(folder) is not None:
        return ""
    return "its guard has ended, so it has no network; stop it and launch it again"
