"""What the gate needs of others: a person's decisions, and the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from claude_bottle.audit import Decision

PushState = Literal["pending", "approved", "refused"]


@dataclass(frozen=True)
class PushAnswer:
    """The state of a request to push: its number, and who decided it."""

    id: str
    state: PushState
    by: str = ""


class PushApprovals(Protocol):
    """The requests of one bottle that a person decides."""

    def ask(self, rule: Mapping[str, Any], what: str) -> PushAnswer:
        """Return the request for exactly this rule, a new one if there is none; raise `PyroError` for too many."""

    def wait(self, id_: str, seconds: float) -> PushAnswer:
        """Wait until a person has decided, and no longer than `seconds`; return the present answer."""

    def spent(self, id_: str) -> None:
        """Take an approval back, because it is about to be used; raise `PyroError` unless it holds."""


class Record(Protocol):
    """Adds a line to the journal, and returns when it is there."""

    def __call__(self, decision: Decision, *, who: str, rule: str, what: Mapping[str, object]) -> None: ...
