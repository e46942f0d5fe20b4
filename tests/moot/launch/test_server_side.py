"""Status and doctor with a real space server: unread messages, what waits for the person, keys that are not valid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moot.client.auth import store_credential
from moot.config import ActorKey, Actors, save_actors, set_value
from moot.team.doctor import Check, Doctor
from tests.moot.launch.conftest import Make
from tests.moot.launch.project import Project
from tests.moot.server.running import Server, running


@pytest.fixture
def served(make: Make, tmp_path: Path) -> Iterator[tuple[Project, Server]]:
    """A project whose roles `product` and `qa` have keys of a running server, and a person who has logged in there."""
    project = make(roles=("product", "qa"))
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server") as server:
        url = f"http://127.0.0.1:{server.port}"
        clients = {name.lower(): one for name, one in server.agents().items()}
        keys = {
            role: ActorKey(clients[role].get("/api/actors/me")["actor_id"], clients[role].key, role.title())
            for role in ("product", "qa")
        }
        save_actors(Actors(server.space(), "Home", url, keys), project.folder)
        set_value(project.folder / "moot.toml", "api_url", url)
        set_value(project.folder / "moot.toml", "space_id", server.space())
        store_credential(server.token, url, server.person.get("/api/actors/me")["actor_id"])
        yield project, server


def checks(project: Project) -> dict[str, Check]:
    return {one.name: one for one in Doctor(project.folder).checks()}


def test_status_counts_unread_messages_and_shows_those_to_the_person(served: tuple[Project, Server]) -> None:
    project, server = served
    space, person = server.space(), server.person.get("/api/actors/me")
    agents = server.agents()
    qa = agents["QA"].get("/api/actors/me")["actor_id"]
    text = "Which port?\x1b[2J\nmore"
    agents["Product"].post(f"/api/spaces/{space}/join", {"name": "Product", "agent_adapter": "mcp"})
    for mentions in ([qa], [qa], [person["actor_id"]]):
        agents["Product"].post(f"/api/spaces/{space}/response", {"text": text, "metadata": {"mentions": mentions}})

    found = project.team.status()

    assert {one.role: one.unread for one in found.roles} == {"product": 0, "qa": 2}
    assert [(one.what, one.text) for one in found.waiting] == [("message", "Product: Which port?\x1b[2J")]
    assert found.server_problem == ""


def test_status_without_the_server_shows_the_rest(served: tuple[Project, Server]) -> None:
    project, server = served
    server.stop()
    found = project.team.status()
    assert {one.role: (one.state, one.unread) for one in found.roles} == {
        "product": ("not_started", None),
        "qa": ("not_started", None),
    }
    assert str(server.port) in found.server_problem


def test_doctor_says_what_is_there_and_what_to_do(served: tuple[Project, Server]) -> None:
    project, server = served
    found = checks(project)
    assert {name for name, one in found.items() if not one.ok} == {"hooks"}
    assert "moot init" in found["hooks"].advice
    assert found["key of qa"].found == "it is QA's" and "claude is installed" in found["harness claude-code"].found

    server.agents()  # new keys: those of the project are not valid any more
    (project.folder / ".moot/actors.json").chmod(0o644)
    (project.programs / "claude").unlink()
    found = checks(project)
    assert not found["key of qa"].ok and "moot init --force" in found["key of qa"].advice
    assert not found["keys"].ok and "chmod 600" in found["keys"].advice

    server.stop()
    found = checks(project)
    assert not found["space server"].ok and "key of qa" not in found

    path = project.folder / "moot.toml"
    text = path.read_text()
    path.write_text("[agents.qa]\nmodel = 3\n")
    found = checks(project)
    path.write_text(text)
    assert not found["moot.toml"].ok and "agents.qa.model" in found["moot.toml"].found and "space server" not in found
