"""The requests of one bottle, as its guard sees them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping

from claude_bottle.guard.requests import Asker, Request, Requests


class Approvals:
    """The requests of the bottle `asker`; any thread may call all methods.

    `policy` returns the digest of the bottle's policy as it is now. An approval counts only while that is the policy
    under which it was asked for. The agent sees a decision only when it has taken effect: see `refresh`.
    """

    def __init__(self, requests: Requests, asker: Asker, policy: Callable[[], str]) -> None:
        self._requests, self.asker, self._policy = requests, asker, policy
        self._changed = threading.Condition()
        self._effective: tuple[Request, ...] = ()
        self._announced: frozenset[int] = frozenset()

    def ask(self, kind: str, rule: Mapping[str, object], *, reason: str, asked_by: str = "agent") -> Request:
        """Record a request, or return the one that is pending or approved for this rule: see `Requests.ask`."""
        asker = dataclasses.replace(self.asker, policy=self._policy())
        found = self._requests.ask(asker, kind, rule, reason=reason, asked_by=asked_by)
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
            found = [one for one in self._effective if one.allows(now) and kind in ("", one.kind)]
        present = self._policy() if found else ""
        return [one for one in found if one.policy == present]

    def had(self, kind: str, rule: Mapping[str, object]) -> bool:
        """Return whether a person has approved exactly this rule at some time."""
        with self._changed:
            found = self._effective
        return any(one.state in ("approved", "void") and (one.kind, one.rule) == (kind, rule) for one in found)

    def spent(self, number: int) -> None:
        """Mark an approval as used, just before its use; raises `Conflict` unless it is in effect."""
        self._requests.spend(number, self.asker.guard, self._policy())

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
        decided = self._decided()
        with self._changed:
            self._effective = tuple(decided)
        apply(self.granted())
        with self._changed:
            self._announced = frozenset(one.number for one in decided)
            self._changed.notify_all()

    def _decided(self) -> list[Request]:
        """Return the decided requests, after those whose time or policy is over have expired or are void."""
        found, now = self._requests.of_guard(self.asker.guard), time.time()
        over = any(one.state == "pending" and one.expires_at <= now for one in found)
        held = any(one.allows(now) for one in found)
        present = self._policy() if held else ""
        if over:
            self._requests.expire()
        if held and any(one.allows(now) and one.policy != present for one in found):
            self._requests.make_void(self.asker.guard, present)
            over = True
        if over:
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
