"""The interfaces that the gate uses: a person's decisions, and the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from claude_bottle.audit import Decision
from claude_bottle.guard.requests import Request


class PushApprovals(Protocol):
    """The requests of one bottle that a person decides; `Approvals` of the guard is one."""

    def ask(self, kind: str, rule: Mapping[str, object], *, reason: str) -> Request:
        """Return the request for exactly this rule, a new one if none exists; raise `PyroError` for too many."""

    def wait(self, number: int, seconds: float) -> Request:
        """Wait until a person has decided, and no longer than `seconds`; return the request as it is then."""

    def spent(self, number: int) -> None:
        """Mark an approval as used, just before its use; raise `PyroError` unless it is in effect."""


class Record(Protocol):
    """A function that adds a line to the journal, and returns when the line is there."""

    def __call__(self, decision: Decision, *, who: str, rule: str, what: Mapping[str, object]) -> None: ...
