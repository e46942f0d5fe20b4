"""A clock for tests."""

from __future__ import annotations


class Clock:
    """A clock that moves only when a test moves it; it begins at a noon, in UTC."""

    def __init__(self) -> None:
        self.now = 1_800_014_400.0

    def __call__(self) -> float:
        return self.now
