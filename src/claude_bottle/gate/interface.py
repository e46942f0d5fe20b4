"""What the gate needs of others: a person's decisions, and the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from claude_bottle.audit import Decision
from claude_bottle.guard.requests import Request


class PushApprovals(Protocol):
    """The requests of one bottle that a person decides; `Approvals` of the guard is one."""

    def ask(self, kind: str, rule: Mapping[str, object], *, reason: str) -> Request:
        """Return the request for exactly this rule, a new one if there is none; raise `PyroError` for too many."""

    def wait(self, number: int, seconds: float) -> Request:
        """Wait until a person has decided, and no longer than `seconds`; return the request as it is then."""

    def spent(self, number: int) -> None:
        """Take an approval back, because it is about to be used; raise `PyroError` unless it holds."""


class Record(Protocol):
    """Adds a line to the journal, and returns when it is there."""

    def __call__(self, decision: Decision, *, who: str, rule: str, what: Mapping[str, object]) -> None: ...
