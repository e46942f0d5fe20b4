"""The lines of one bottle in the audit journal, limited in number so that no guest can fill the journal.

A guest can repeat connections, uses of secrets, requests to models and refused pushes without end. Their lines are
written one by one up to a rate. The first one beyond it says in its `what` that later decisions are counted; some
seconds later, one more line has their number for each rule. So each decision is announced before it takes effect,
and each rule, host and reason is named. All other decisions have a line of their own, whatever the rate.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from claude_bottle.audit import Decision, DecisionKind, Journal
from claude_bottle.guard.settings import GuardSettings
from pyro_mcp.errors import PyroError, TooManyRequests
from pyro_mcp.host.token_bucket import TokenBucket

AT_ONCE, PER_SECOND = 500, 1.0
"""How many lines a bottle may write at once, and each second after these: of refusals, and of all others."""
MOST_RULES = 100
"""The most rules that are counted by name at a time; a further one is refused, or counted without its name."""
COUNT_SECONDS = 10.0
_REPEATABLE = frozenset({("push", "refused"), *((kind, one) for kind in ("egress", "secret", "budget") for one in (
    "allowed", "refused", "used", "unknown"))})  # fmt: skip
_LONGEST_NAME = 120
_Pair = tuple[DecisionKind, Decision]


@dataclass
class _Count:
    """The decisions that were counted since a time: how many by whom and by which rule, and how many others."""

    since: float
    known: dict[str, dict[str, int]] = field(default_factory=dict)
    others: int = 0

    def has_room(self, who: str, name: str) -> bool:
        """Return whether one more decision can be counted under its name."""
        return name in self.known.get(who, {}) or sum(map(len, self.known.values())) < MOST_RULES

    def add(self, who: str, name: str) -> None:
        """Count one decision."""
        if self.has_room(who, name):
            names = self.known.setdefault(who, {})
            names[name] = names.get(name, 0) + 1
        else:
            self.others += 1


class BottleJournal:
    """The writer of one bottle's lines; any thread may call all methods. `clock` counts seconds."""

    def __init__(self, journal: Journal, settings: GuardSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal, self._settings = journal, settings
        self._rates = {refused: TokenBucket(AT_ONCE, PER_SECOND, clock) for refused in (False, True)}
        self._lock = threading.Lock()
        self._counts: dict[_Pair, _Count] = {}
        self._is_waiting, self._failed = False, False
        self._closed = threading.Event()

    def add(
        self,
        kind: DecisionKind,
        decision: Decision,
        *,
        rule: str,
        what: Mapping[str, object],
        who: str = "policy",
    ) -> None:
        """Record a decision before it takes effect: in a line of its own, or counted.

        Raises `PyroError` if that is impossible, and `TooManyRequests` for what would be counted without its name,
        unless it is a refusal.
        """
        pair = (kind, decision)
        if pair in _REPEATABLE and self._is_counted(pair, rule, what, who):
            return
        self._write(kind, decision, rule=rule, what=what, who=who)

    def close(self) -> None:
        """Write what was counted; raises `PyroError` if that is impossible."""
        self._closed.set()
        with self._lock:
            self._write_counts()

    def _is_counted(self, pair: _Pair, rule: str, what: Mapping[str, object], who: str) -> bool:
        """Count a decision, or announce that later ones are counted; return False if it needs a line of its own."""
        kind, decision = pair
        with self._lock:
            if self._failed:
                self._write_counts()
            if (count := self._counts.get(pair)) is not None:
                name = _name(kind, rule, what)
                if decision == "allowed" and not count.has_room(who, name):
                    raise TooManyRequests(
                        f"more than {MOST_RULES} different hosts at once", hint=f"wait {COUNT_SECONDS:g} seconds"
                    )
                count.add(who, name)
                return True
            if self._rates[decision == "refused"].take():
                return False
            announced = {**what, "counting": f"what follows within {COUNT_SECONDS:g} s is counted"}
            self._write(kind, decision, rule=rule, what=announced, who=who)
            self._counts[pair] = _Count(time.time())
            if not self._is_waiting:
                self._is_waiting = True
                threading.Thread(target=self._wait, daemon=True).start()
            return True

    def _wait(self) -> None:
        """Write what was counted every few seconds, until there is nothing to count."""
        while not self._closed.wait(COUNT_SECONDS):
            with self._lock:
                try:
                    self._write_counts()
                except PyroError:
                    traceback.print_exc()
                    continue
                if not self._counts:
                    self._is_waiting = False
                    return

    def _write_counts(self) -> None:
        """Write the counts, and forget what is written. Until it succeeds, nothing more is counted."""
        self._failed = True
        for pair, count in list(self._counts.items()):
            span = {"since": count.since, "until": time.time()}
            for who, rules in list(count.known.items()):
                what = {"count": sum(rules.values()), **span, "rules": rules}
                self._write(*pair, rule="", what=what, who=who)
                del count.known[who]
            if count.others:
                self._write(*pair, rule="", what={"count": count.others, **span}, who="policy")
            del self._counts[pair]
        self._failed = False

    def _write(
        self, kind: DecisionKind, decision: Decision, *, rule: str, what: Mapping[str, object], who: str
    ) -> None:
        settings = self._settings
        self._journal.add(
            kind,
            decision,
            slug=settings.slug,
            bottle=settings.bottle,
            agent=settings.agent,
            who=who,
            rule=rule,
            what=what,
        )


def _name(kind: DecisionKind, rule: str, what: Mapping[str, object]) -> str:
    """Return what a counted decision was about: those of its rule, host, model and reason that are not empty."""
    words = [*([] if kind == "budget" else [rule]), *(what.get(key) for key in ("host", "model", "reason"))]
    name = " ".join(word for word in words if isinstance(word, str) and word)
    return name.encode("ascii", "backslashreplace").decode()[:_LONGEST_NAME]
