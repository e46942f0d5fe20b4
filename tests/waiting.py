"""Waiting in tests for a state that no event announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_PAUSE_SECONDS = 0.005

Found = TypeVar("Found")


def until(awaited: str, condition: Callable[[], Found], *, deadline_seconds: float = 30.0) -> Found:
    """Call `condition` until it returns something true, and return that.

    Fail after `deadline_seconds` with `awaited`, the name of the state, and with what `condition` returned last. Where
    there is an event (a file descriptor, a thread, a future), wait for that instead.
    """
    end = time.monotonic() + deadline_seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {deadline_seconds:g} s for this: {awaited}; last seen: {found!r}"
        time.sleep(_PAUSE_SECONDS)
    return found
