"""What a real server answers: the codes of errors, nulls, and ids that name something."""

from __future__ import annotations

import json

import pytest

from tests.moot.server.running import Client, Server, id_of, moot


@pytest.mark.parametrize(
    ("method", "path", "body", "answer"),
    [
        ("GET", "/api/spaces/none", None, (404, "not_found")),
        ("GET", "/nothing", None, (404, "not_found")),
        ("PUT", "/api/spaces", {}, (405, "invalid_request")),
        ("POST", "/api/spaces", {"space_id": "/"}, (400, "invalid_request")),
        ("POST", "/api/spaces", {"space_id": ""}, (422, "invalid_request")),
        ("POST", "/api/spaces", b"{" + b" " * (1 << 20), (413, "too_large")),
    ],
)
def test_each_error_has_a_code(server: Server, method: str, path: str, body: object, answer: tuple[int, str]) -> None:
    found = server.person.call(method, path, body)

    assert (found.status, found.body["code"]) == answer
    assert Client(server.port).call("GET", "/api/actors/me").body["code"] == "unauthenticated"


def test_null_clears_a_field_that_may_be_empty_and_no_other(server: Server, agents: dict[str, Client]) -> None:
    path = f"/api/actors/{id_of(agents['Product'])}"
    set_ = {"agent_profile": "writes", "email": "p@example.org", "metadata": {"a": 1}}
    before = server.person.call("PATCH", path, set_).body
    assert set_.items() <= before.items()

    assert server.person.call("PATCH", path, {"display_name": None}).status == 422
    after = server.person.call("PATCH", path, dict.fromkeys(set_)).body

    assert after == {**before, **dict.fromkeys(set_), "updated_at": after["updated_at"]}
    for one in ("name", "description", "status", "links"):
        assert server.person.call("PATCH", f"/api/spaces/{server.space()}", {one: None}).status == 422


def test_null_takes_back_the_answer_of_a_question(agents: dict[str, Client], space: str) -> None:
    spec, path = agents["Spec"], f"/api/spaces/{space}/questions"
    path += "/" + spec.post(path, {"text": "why?", "assigned_to": id_of(agents["QA"])})["question_id"]
    assert spec.call("PATCH", path, {"answer": "so", "status": "answered"}).body["answer"] == "so"

    found = spec.call("PATCH", path, {"answer": None, "assigned_to": None}).body

    assert (found["answer"], found["assigned_to"], found["status"]) == (None, None, "answered")


def test_a_team_is_installed_with_a_key_for_each_agent(server: Server) -> None:
    user = json.loads(moot("--json", "server", "user", "add", "Installer", *server.place).stdout)["actor_id"]
    made = json.loads(moot("--json", "server", "team", "install", "loop-3", "--user", user, *server.place).stdout)

    assert (
        made.keys() == {"installation_id", "team_id", "space_id", "space_name", "actors"}
        and made["space_name"] == "loop-3"
    )
    assert {role: one["display_name"] for role, one in made["actors"].items()} == {
        "leader": "Leader",
        "implementation": "Implementation",
        "qa": "Verifier",
    }
    for one in made["actors"].values():
        agent = Client(server.port, one["api_key"])
        assert id_of(agent) == one["actor_id"]
        assert [room["space_id"] for room in agent.get("/api/actors/me/spaces")] == [made["space_id"]]


def test_what_an_answer_names_can_be_found_again(server: Server, space: str) -> None:
    summary = server.person.get(f"/api/spaces/{space}/summary?end=2026-01-01")
    assert server.person.get(f"/api/spaces/{space}/summary?end=2026-01-01") == summary
    token = server.person.post("/api/personal-access-tokens", {"name": "laptop"})
    assert token.pop("token").startswith(token["prefix"])
    assert token in server.person.get("/api/personal-access-tokens")
