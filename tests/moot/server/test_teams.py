"""Teams that are installed over the interface, invitations, prompt rules, and tenants that are suspended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update
from websockets.exceptions import ConnectionClosed

from moot.server import clock
from moot.server.admin import invites
from moot.server.database import tables
from pyro_mcp.errors import NotFound
from tests.moot.server.conftest import Team
from tests.moot.server.running import Client, Server, id_of, moot

TEAM = {"archetype_id": "loop-3", "archetype_version": "1.0.0"}


def new_person(server: Server, name: str) -> tuple[Client, dict[str, Any]]:
    """Return a person of a tenant of its own, and what the command line says about it."""
    made = json.loads(moot("--json", "server", "user", "add", name, *server.place).stdout)
    return Client(server.port, made["token"]), made


def test_a_team_is_installed_once_for_one_idempotency_key(server: Server) -> None:
    person, _ = new_person(server, "Installer")
    first = person.post("/api/teams/install", TEAM, **{"Idempotency-Key": "a"})

    second = person.post("/api/teams/install", TEAM, **{"Idempotency-Key": "a"})
    other = person.post("/api/teams/install", {"archetype_id": "mootup/loop-3"})

    assert first["installation_id"] != other["installation_id"] and first["space_id"] != other["space_id"]
    same = ("installation_id", "team_id", "space_id", "space_name")
    assert [first[name] for name in same] == [second[name] for name in same]
    assert set(first["actors"]) == {"leader", "implementation", "qa"}
    for role, agent in second["actors"].items():
        before = first["actors"][role]
        assert (agent["actor_id"], agent["display_name"]) == (before["actor_id"], before["display_name"])
        assert id_of(Client(server.port, agent["api_key"])) == agent["actor_id"]
        assert Client(server.port, before["api_key"]).call("GET", "/api/actors/me").status == 401
    refused = person.call("POST", "/api/teams/install", {"archetype_id": "loop-4"}, headers={"Idempotency-Key": "a"})
    assert refused.status == 409


def test_a_team_is_installed_by_a_person_from_a_template_that_exists(server: Server, agents: dict[str, Client]) -> None:
    assert agents["Spec"].call("POST", "/api/teams/install", TEAM).status == 403
    unknown = server.person.call("POST", "/api/teams/install", {"archetype_id": "loop-5"})
    assert unknown.status == 400 and "loop-" in unknown.body["detail"].partition(":")[2]


def test_an_invitation_lets_one_person_into_the_tenant_once(server: Server, agents: dict[str, Client]) -> None:
    made = server.person.post("/api/invites", {"expires_in_days": 1})
    code, anonymous = made.pop("code"), Client(server.port)
    assert made in server.person.get("/api/invites")

    joined = anonymous.post("/api/invites/redeem", {"code": code, "display_name": "Grace"})

    grace = Client(server.port, joined["token"])
    assert grace.get("/api/actors/me")["tenant_id"] == server.person.get("/api/actors/me")["tenant_id"]
    assert grace.get(f"/api/spaces/{server.space()}")["name"] == "Home"
    for body in ({"code": code, "display_name": "Eve"}, {"code": "moot_code_no", "display_name": "Eve"}):
        assert anonymous.call("POST", "/api/invites/redeem", body).status == 404
    second = server.person.post("/api/invites", {})
    looks_like = {"code": second["code"], "display_name": "grace"}
    assert anonymous.call("POST", "/api/invites/redeem", looks_like).status == 409
    assert server.person.call("DELETE", f"/api/invites/{second['invite_id']}").status == 200
    assert anonymous.call("POST", "/api/invites/redeem", {**looks_like, "display_name": "Ann"}).status == 404
    assert server.person.call("DELETE", f"/api/invites/{made['invite_id']}").status == 409
    assert agents["Spec"].call("POST", "/api/invites", {}).status == 403
    stranger, _ = new_person(server, "Stranger")
    assert stranger.get("/api/invites") == []
    assert stranger.call("DELETE", f"/api/invites/{made['invite_id']}").status == 404


def test_an_invitation_expires(team: Team) -> None:
    code = team.database.write(lambda tx: invites.create(tx, team.person, expires_in_days=1)).code
    team.database.write(lambda tx: tx.execute(update(tables.invites).values(expires_at=clock.now())))

    with pytest.raises(NotFound):
        team.database.write(lambda tx: invites.redeem(tx, code, "Late"))


def test_prompt_rules_are_made_by_people_and_read_by_all_of_the_tenant(
    server: Server, agents: dict[str, Client], space: str
) -> None:
    person, spec, path = server.person, agents["Spec"], "/api/prompt-rules"
    everywhere = person.post(path, {"name": "tests", "text": "Run the tests."})
    here = person.post(path, {"name": "style", "text": "Write plainly.", "space_id": space, "enabled": False})
    other = person.post("/api/spaces", {})["space_id"]

    assert spec.get(path) == [everywhere, here] == spec.get(f"{path}?space_id={space}")
    assert spec.get(f"{path}?space_id={other}") == [everywhere]
    changed = person.call("PATCH", f"{path}/{here['rule_id']}", {"space_id": None, "enabled": True}).body
    assert (changed["space_id"], changed["enabled"], changed["text"]) == (None, True, "Write plainly.")
    assert spec.get(f"{path}/{here['rule_id']}") == changed
    for method, where, body in (
        ("POST", path, {"name": "a", "text": "b"}),
        ("PATCH", f"{path}/{here['rule_id']}", {"text": "b"}),
        ("DELETE", f"{path}/{here['rule_id']}", None),
    ):
        assert spec.call(method, where, body).status == 403
    assert person.call("POST", path, {"name": "a", "text": "b", "space_id": "none"}).status == 404
    stranger, _ = new_person(server, "Outsider")
    assert stranger.get(path) == [] and stranger.call("GET", f"{path}/{here['rule_id']}").status == 404
    assert person.call("DELETE", f"{path}/{here['rule_id']}").status == 200
    assert spec.call("GET", f"{path}/{here['rule_id']}").status == 404


def test_a_suspended_tenant_is_refused_until_it_is_resumed(server: Server) -> None:
    person, made = new_person(server, "Suspended")
    tenant = made["tenant_id"]
    with person.live(made["space_id"]) as live:
        assert moot("server", "tenant", "suspend", tenant, *server.place).returncode == 0

        refused = person.call("GET", "/api/actors/me")
        assert refused.status == 403 and refused.body["detail"] == "Tenant is suspended"
        with pytest.raises(ConnectionClosed):
            live.event()
    assert server.person.get("/api/actors/me")["actor_type"] == "human"
    found = json.loads(moot("--json", "server", "tenant", "list", *server.place).stdout)["tenants"]
    assert [one["tenant_id"] for one in found if one["suspended_at"]] == [tenant]
    assert moot("server", "tenant", "suspend", tenant, *server.place).returncode == 4
    assert moot("server", "tenant", "suspend", "ten_0", *server.place).returncode == 3
    assert moot("server", "tenant", "resume", tenant, *server.place).returncode == 0
    assert person.get("/api/actors/me")["display_name"] == "Suspended"
