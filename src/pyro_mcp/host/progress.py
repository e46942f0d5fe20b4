"""How long work tells a person where it stands."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float | None], None]
"""Called with what is being done now, and how much of it is done (0.0 to 1.0; None when unknown)."""


def silent(message: str, fraction: float | None = None) -> None:
    """A `Progress` that says nothing."""
