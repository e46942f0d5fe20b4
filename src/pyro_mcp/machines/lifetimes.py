"""Tell when a machine's time is over, even if the host's clock is set.

The wall clock says it across boots of the host. Within one boot the time since that boot counts instead: nobody can set
it, and it goes on while the host sleeps.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TypedDict


class Expiry(TypedDict):
    """The columns of a machine that say when its time is over."""

    expires_at: float
    boot_id: str
    expires_uptime: float


def expiry_in(seconds: float) -> Expiry:
    """Return the expiry of a machine that lives `seconds` from now."""
    return {"expires_at": time.time() + seconds, "boot_id": _boot_id(), "expires_uptime": _uptime() + seconds}


def seconds_left(expires_at: float, boot_id: str | None, expires_uptime: float | None) -> float:
    """Return the seconds until a machine's time is over; negative when it is."""
    if expires_uptime is not None and boot_id == _boot_id():
        return expires_uptime - _uptime()
    return expires_at - time.time()


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
