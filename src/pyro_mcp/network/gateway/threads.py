"""Work that goes on by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_STACK_BYTES = 512 * 1024


def spawn(work: Callable[..., object], *arguments: object) -> bool:
    """Do `work` in a thread of its own; False if there can be no more of them now."""
    threading.stack_size(_STACK_BYTES)  # there may be many
    try:
        threading.Thread(target=work, args=arguments, daemon=True).start()
    except RuntimeError:
        return False
    return True


def spawn_or_exit(work: Callable[[], object]) -> None:
    """Do `work`, without which this process is of no use, in a thread; when it ends, however, the process ends."""

    def run() -> None:
        try:
            work()
        finally:
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()
