"""The callback through which long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float | None], None]
"""Called with a message for people, and the fraction that is done (0.0 to 1.0, None when it is unknown)."""


def silent(message: str, fraction: float | None = None) -> None:
    """Report nothing: the default `Progress`."""
