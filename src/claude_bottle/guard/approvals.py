"""The requests of one bottle, as its guard sees them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping

from claude_bottle.guard.requests import Asker, Request, Requests


class Approvals:
    """The requests of the bottle `asker`; any thread may call all methods.

    The agent sees a decision only when it has taken effect: see `refresh`.
    """

    def __init__(self, requests: Requests, asker: Asker) -> None:
        self._requests, self.asker = requests, asker
        self._changed = threading.Condition()
        self._effective: tuple[Request, ...] = ()
        self._announced: frozenset[int] = frozenset()

    def ask(self, kind: str, rule: Mapping[str, object], *, reason: str, asked_by: str = "agent") -> Request:
        """Record a request, or return the one that is pending or approved for this rule: see `Requests.ask`."""
        found = self._requests.ask(self.asker, kind, rule, reason=reason, asked_by=asked_by)
        return self._as_it_counts(found)

    def get(self, number: int) -> Request:
        """Return a request of this bottle; raises `NotFound`."""
        return self._as_it_counts(self._requests.get(number, self.asker.guard))

    def all(self) -> list[Request]:
        """Return all requests of this bottle, oldest first."""
        return [self._as_it_counts(one) for one in self._requests.of_guard(self.asker.guard)]

    def granted(self, kind: str = "") -> list[Request]:
        """Return the approvals of one kind, or of all kinds, that are in effect."""
        now = time.time()
        with self._changed:
            found = self._effective
        return [one for one in found if one.allows(now) and kind in ("", one.kind)]

    def spent(self, number: int) -> None:
        """Mark an approval as used, just before its use; raises `Conflict` unless it is in effect."""
        self._requests.spend(number, self.asker.guard)

    def wait(self, number: int, seconds: float) -> Request:
        """Wait until the decision about a request has taken effect, for a limited time; return the request."""
        self.get(number)
        with self._changed:
            self._changed.wait_for(lambda: number in self._announced, seconds)
        return self.get(number)

    def refresh(self, apply: Callable[[list[Request]], None]) -> None:
        """Put decisions into effect: in the guard, then by `apply`, then for the agent that waits for them.

        `apply` gets the approvals that are in effect now. If it raises, the agent still finds its requests pending,
        and the next call tries again.
        """
        decided, now = self._decided(), time.time()
        with self._changed:
            self._effective = tuple(decided)
        apply([one for one in decided if one.allows(now)])
        with self._changed:
            self._announced = frozenset(one.number for one in decided)
            self._changed.notify_all()

    def _decided(self) -> list[Request]:
        """Expire the requests whose time is over; return the decided requests, as they are in the database."""
        found = self._requests.of_guard(self.asker.guard)
        if any(one.state == "pending" and one.expires_at <= time.time() for one in found):
            self._requests.expire()
            found = self._requests.of_guard(self.asker.guard)
        return [one for one in found if one.state != "pending"]

    def next_end(self) -> float:
        """Return when the next request or approval ends; infinity when none does."""
        found = self._requests.of_guard(self.asker.guard)
        now = time.time()
        ends = [one.expires_at if one.state == "pending" else one.granted_until or 0.0 for one in found]
        return min((end for end in ends if end > now), default=float("inf"))

    def _as_it_counts(self, request: Request) -> Request:
        with self._changed:
            if request.state == "pending" or request.number in self._announced:
                return request
        return dataclasses.replace(request, state="pending")
