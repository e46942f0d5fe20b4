"""A limit on the journal's lines about refusals, because a guest can send refused requests without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from claude_bottle.audit import Decision
from claude_bottle.gate.interface import Record

AT_ONCE, PER_SECOND = 64, 2.0
"""How many refusals are recorded at once, and how many per second after these."""


class LimitedRefusals:
    """A `Record` that leaves out refusals above the limit, and adds their number to the next line about one."""

    def __init__(self, record: Record, now: Callable[[], float] = time.monotonic) -> None:
        self._record, self._now = record, now
        self._lock = threading.Lock()
        self._left, self._counted_at, self._omitted = float(AT_ONCE), now(), 0

    def __call__(self, decision: Decision, *, who: str, rule: str, what: Mapping[str, object]) -> None:
        if decision == "refused":
            if not self._take():
                return
            with self._lock:
                omitted, self._omitted = self._omitted, 0
            what = {**what, "omitted": omitted} if omitted else what
        self._record(decision, who=who, rule=rule, what=what)

    def _take(self) -> bool:
        with self._lock:
            now = self._now()
            self._left = min(float(AT_ONCE), self._left + (now - self._counted_at) * PER_SECOND)
            self._counted_at = now
            if self._left < 1.0:
                self._omitted += 1
                return False
            self._left -= 1.0
            return True
