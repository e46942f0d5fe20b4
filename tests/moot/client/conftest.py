"""A space server for the tests of the client, and a person of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.moot.client.people import Person, new_person
from tests.moot.server.running import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    made = tmp_path / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    made = tmp_path / "shop"
    made.mkdir()
    (made / ".git").mkdir()
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def people(server: Server, home: Path, tmp_path: Path) -> Callable[..., Person]:
    """Make a person of a tenant of its own, with a project of its own."""
    made: list[Path] = []

    def make(template: str = "loop-4") -> Person:
        folder = tmp_path / f"project-{len(made)}"
        made.append(folder)
        (folder / ".git").mkdir(parents=True)
        return new_person(server, home, folder, template)

    return make


@pytest.fixture
def person(server: Server, home: Path, project: Path) -> Person:
    """A person who is logged in, with the four agents of loop-4, which have no keys."""
    return new_person(server, home, project)
