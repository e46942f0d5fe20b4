"""A bottle that asks, in a home of its own: for the command, the page and the screen that show its requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bottles.asking import AskingBottle, asking_bottle


@pytest.fixture
def asking(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AskingBottle]:
    """A bottle that asks; its manifest is a file in the home."""
    monkeypatch.setenv("CLAUDE_BOTTLE_FAKE", "1")
    manifest = home / "bottles.toml"
    manifest.write_text("")
    with asking_bottle(str(manifest)) as bottle:
        yield bottle
