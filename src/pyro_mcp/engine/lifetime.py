"""The end of a machine's lifetime: a file beside its disk, which `cage/lifetime.c` reads while the machine runs."""

from __future__ import annotations

import time
from pathlib import Path

from pyro_mcp.host.files import write_atomic

GUARD = Path(__file__).with_name("pyro-lifetime")
MOVING_DEADLINE = Path("../deadline")
"""The file as the processes of a spare machine name it, whose sockets' folder moves into another home."""


def deadline_file(home: Path) -> Path:
    """Return the file that holds the end of the machine with this home, in ms of CLOCK_BOOTTIME."""
    return home / "deadline"


def guarded_file(home: Path, *, is_spare: bool) -> Path:
    """Return the path of that file for the processes of the machine."""
    return MOVING_DEADLINE if is_spare else deadline_file(home)


def set_lifetime(home: Path, seconds: float) -> None:
    """Let a machine end `seconds` from now; a running one follows within 5 s. Raises `NoSpace`."""
    # Not the time of day, which may be set while the machine runs.
    moment = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    write_atomic(deadline_file(home), f"{round(moment * 1000)}\n", parents=False)
