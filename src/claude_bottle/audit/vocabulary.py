"""The words of the journal: the kinds of its lines, and the decisions of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

DecisionKind = Literal["egress", "secret", "push", "approval", "budget", "time", "launch", "stop", "guard"]
Decision = Literal[
    "allowed", "refused", "held",
    "asked", "approved", "denied", "expired", "void",
    "used", "unknown",
    "started", "ended",
]  # fmt: skip

DECISIONS: Mapping[DecisionKind, tuple[Decision, ...]] = {
    "egress": ("allowed", "refused"),
    "secret": ("allowed", "refused"),
    "push": ("held", "allowed", "refused"),
    "approval": ("asked", "approved", "denied", "expired", "void", "ended"),
    "budget": ("allowed", "refused", "used", "unknown"),
    "time": ("allowed", "refused"),
    "launch": ("started",),
    "stop": ("ended",),
    "guard": ("started", "ended"),
}
"""The decisions of each kind; docs/bottles.md says what the rule of a line is."""
