"""Requests of a bottle whose guard is this test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_bottle.guard.requests import Asker, Request, Requests


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorded() -> list[tuple[str, str]]:
    """What has been recorded: the id and the state of a request."""
    return []


@pytest.fixture
def requests(tmp_path: Path, clock: Clock, recorded: list[tuple[str, str]]) -> Iterator[Requests]:
    with Requests(tmp_path / "guard.db", lambda one: recorded.append((one.id, one.state)), clock) as found:
        yield found


@pytest.fixture
def asker() -> Asker:
    return Asker(guard="g1", slug="web-1", agent="web", policy="p1", timeout_seconds=900, grant_seconds=3600)


Policy = Callable[[Request], str | None]


@pytest.fixture
def unchanged() -> Policy:
    """The policy of a bottle that is as it was."""
    return lambda request: request.policy
