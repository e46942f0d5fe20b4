"""Background threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_STACK_BYTES = 512 * 1024


def spawn(work: Callable[..., object], *arguments: object) -> bool:
    """Run `work` in a thread of its own; return False when no more threads can be started."""
    threading.stack_size(_STACK_BYTES)  # there may be many
    try:
        threading.Thread(target=work, args=arguments, daemon=True).start()
    except RuntimeError:
        return False
    return True


def spawn_or_exit(work: Callable[[], object]) -> None:
    """Run `work`, which this process cannot do without, in a thread; exit the process when it returns or raises."""

    def run() -> None:
        try:
            work()
        finally:
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()
