"""The requests of one bottle, as its guard sees them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from claude_bottle.guard.requests import Asker, Request, Requests


class Approvals:
    """The requests of the bottle `asker`; any thread may call all methods."""

    def __init__(self, requests: Requests, asker: Asker) -> None:
        self._requests, self.asker = requests, asker
        self._changed = threading.Condition()
        self._generation = 0

    def ask(self, kind: str, rule: Mapping[str, object], *, reason: str, asked_by: str = "agent") -> Request:
        """Record a request, or return the one that is pending or approved for this rule: see `Requests.ask`."""
        return self._requests.ask(self.asker, kind, rule, reason=reason, asked_by=asked_by)

    def get(self, number: int) -> Request:
        """Return a request of this bottle in its present state; raises `NotFound`."""
        return self._requests.get(number, self.asker.guard)

    def all(self) -> list[Request]:
        """Return all requests of this bottle, oldest first."""
        return self._requests.of_guard(self.asker.guard)

    def granted(self, kind: str = "") -> list[Request]:
        """Return the approvals of one kind, or of all kinds, that hold now."""
        now = time.time()
        return [one for one in self.all() if one.allows(now) and kind in ("", one.kind)]

    def spent(self, number: int) -> None:
        """Take an approval back, because what it allowed is about to be done; raises `Conflict` unless it holds."""
        self._requests.spend(number, self.asker.guard)

    def wait(self, number: int, seconds: float) -> Request:
        """Wait until a request is decided and that has taken effect, but not longer; return it."""
        end = time.monotonic() + seconds
        while True:
            with self._changed:
                generation = self._generation
            found = self.get(number)
            left = end - time.monotonic()
            if found.state != "pending" or left <= 0:
                return found
            with self._changed:
                self._changed.wait_for(lambda seen=generation: self._generation != seen, left)  # type: ignore[misc]

    def announce(self) -> None:
        """Wake the threads that wait for a decision; call it when the decisions have taken effect."""
        with self._changed:
            self._generation += 1
            self._changed.notify_all()
