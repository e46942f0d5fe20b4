"""The end of a server, also when something that it does cannot be interrupted."""

from __future__ import annotations

import os
import threading

_SECONDS_TO_LEAVE = 15.0


def leave_soon(status: int, *, seconds: float = _SECONDS_TO_LEAVE) -> None:
    """Have this process end in some seconds; what that leaves undone is repaired by whoever comes next."""
    last = threading.Timer(seconds, os._exit, [status])
    last.daemon = True
    last.start()
