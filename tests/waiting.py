"""Waiting in tests for a state that no event announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_PAUSE_SECONDS = 0.005

Found = TypeVar("Found")


def until(
    awaited: str,
    look: Callable[[], Found],
    accept: Callable[[Found], object] = bool,
    *,
    deadline_seconds: float = 30.0,
) -> Found:
    """Call `look` until `accept` is true of what it returns, and return that.

    Fail after `deadline_seconds` with `awaited`, the name of the state, and with what `look` returned last. Where there
    is an event (a file descriptor, a thread, a future), wait for that instead.
    """
    end = time.monotonic() + deadline_seconds
    while not accept(found := look()):
        assert time.monotonic() < end, f"waited {deadline_seconds:g} s for this: {awaited}; last seen: {found!r}"
        time.sleep(_PAUSE_SECONDS)
    return found
