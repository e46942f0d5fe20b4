"""The marks of the server's own entries about decisions, questions and timers, which no message may bear."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyro_mcp.errors import InvalidRequest

_KEYS = ("decision_id", "decision_status", "decision_by_type", "question_id", "timer_id")
_TEXT = re.compile(r"\s*\[DECISION\s+(proposed|resolved|rejected)\]", re.IGNORECASE)


def require_unmarked(text: str, metadata: Mapping[str, Any] | None) -> None:
    """Raise `InvalidRequest` for a message that looks like the record of a decision, a question or a timer."""
    marks = [key for key in _KEYS if key in (metadata or {})]
    if marks:
        raise InvalidRequest(
            f"Only the server sets {', '.join(marks)} in the metadata of a message",
            hint="propose and resolve decisions, and ask questions, by their own calls",
        )
    if _TEXT.match(text):
        raise InvalidRequest(
            "A message that begins as the record of a decision is written by the server alone",
            hint="POST /api/spaces/{space_id}/decisions proposes one; PUT …/resolve resolves it",
        )
