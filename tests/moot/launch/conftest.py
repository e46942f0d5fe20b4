"""A team in a temporary repository, and the check that nothing of it is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moot.team import Team
from tests.moot.launch.project import READY, Project, make_project

Make = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes projects whose agents report that they are idle; afterwards nothing of them may be left."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-user")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("IS_SANDBOX", "1")  # tests run as root, and the agents are scripts
    made: list[Project] = []

    def one(name: str = "project", roles: Any = ("product", "qa"), **harness: object) -> Project:
        tables = roles if isinstance(roles, dict) else {role: {} for role in roles}
        project = make_project(tmp_path / name, tables, **harness)
        made.append(project)
        project.agent_is(READY)
        return project

    yield one
    for project in made:
        Team.to_end(project.folder).down()
    assert [project.left() for project in made] == [{} for _ in made]


@pytest.fixture
def project(make: Make) -> Project:
    """A project with the roles `product` and `qa`."""
    return make()
