"""A limit on how often something may happen, with room for a burst."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """A bucket of `burst` tokens that gains `per_second` of them, for any thread; `clock` counts seconds."""

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_second, self._clock = burst, per_second, clock
        self._left, self._at = burst, clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take one token; return False, and take none, if less than one is left."""
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
