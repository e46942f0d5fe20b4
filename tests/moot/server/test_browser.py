"""Sessions of browsers, and OAuth with PKCE: a person lets a program fetch a key that installs teams."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from sqlalchemy import select, update

from moot.server import clock
from moot.server.database import tables
from tests.moot.server.running import Answer, Client, Server, id_of

VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
WISH = {
    "response_type": "code",
    "client_id": "mootup-cli",
    "redirect_uri": "http://127.0.0.1:9123/callback",
    "scope": "team:install",
    "state": "a&b",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def form(server: Server, path: str, fields: dict[str, str], **headers: str) -> Answer:
    """Send a form as a page of the server does."""
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://127.0.0.1:{server.port}"}
    return Client(server.port).call("POST", path, urlencode(fields).encode(), headers={**kind, **headers})


def session(server: Server) -> str:
    """Return the cookie of a new session of the first person."""
    answer = Client(server.port).call("POST", "/auth/request", {"token": server.token})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and server.token not in cookie
    return cookie.partition(";")[0]


def allowed(server: Server, **more: str) -> str:
    """Let the first person allow the program; return the code."""
    answer = form(server, "/oauth/authorize", {**WISH, "answer": "allow", "token": server.token, **more})
    assert answer.status == 303, answer
    place = urlsplit(answer.headers["location"])
    query = parse_qs(place.query)
    assert (place.netloc, place.path, query["state"]) == ("127.0.0.1:9123", "/callback", ["a&b"])
    return query["code"][0]


def fetched(server: Server, code: str, **more: str) -> Answer:
    fields = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    same = {name: WISH[name] for name in ("client_id", "redirect_uri")}
    return form(server, "/oauth/token", {**fields, **same, **more})


def test_a_session_is_good_for_pages_of_the_server_alone_until_its_end(server: Server) -> None:
    cookie, anonymous = session(server), Client(server.port)
    own = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{server.port}"}

    assert anonymous.call("GET", "/api/actors/me", headers={"Cookie": cookie}).body["actor_id"] == id_of(server.person)
    assert anonymous.call("POST", "/api/spaces", {}, headers=own).status == 200
    for headers in ({"Cookie": cookie}, {**own, "Origin": "http://127.0.0.1:1"}, {**own, "Origin": "null"}):
        assert anonymous.call("POST", "/api/spaces", {}, headers=headers).status == 401
    assert anonymous.call("POST", "/auth/logout", headers=own).status == 200
    assert anonymous.call("GET", "/api/actors/me", headers=own).status == 401


def test_a_session_begins_with_a_token_of_a_person_and_ends_with_it(server: Server, agents: dict[str, Client]) -> None:
    made = server.person.post("/api/personal-access-tokens", {"name": "browser"})
    anonymous = Client(server.port)
    cookie = anonymous.call("POST", "/auth/request", {"token": made["token"]}).headers["set-cookie"].partition(";")[0]
    assert anonymous.call("GET", "/api/actors/me", headers={"Cookie": cookie}).status == 200

    server.person.call("DELETE", f"/api/personal-access-tokens/{made['token_id']}")

    assert anonymous.call("GET", "/api/actors/me", headers={"Cookie": cookie}).status == 401
    assert anonymous.call("POST", "/auth/request", {"token": made["token"]}).status == 401
    assert anonymous.call("POST", "/auth/request", {"token": agents["Spec"].key}).status == 403
    key = cookie.partition("=")[2]
    assert anonymous.call("POST", "/auth/request", {"token": key}).status == 401


def test_a_session_and_a_fetched_key_end_when_the_token_expires(server: Server) -> None:
    made = server.person.post("/api/personal-access-tokens", {"name": "short", "expires_in_days": 1})
    database, credentials = server.opened(), tables.credentials.c
    soon = clock.seconds_from_now(60)
    change = update(tables.credentials).where(credentials.credential_id == made["token_id"]).values(expires_at=soon)
    database.write(lambda tx: tx.execute(change))

    assert Client(server.port).call("POST", "/auth/request", {"token": made["token"]}).status == 200
    assert fetched(server, allowed(server, token=made["token"])).status == 200

    kinds = credentials.kind.in_(("session", "oauth"))
    query = select(credentials.kind, credentials.expires_at).where(kinds).where(credentials.expires_at <= soon)
    found = database.read(lambda tx: {row.kind for row in tx.rows(query)})
    database.close()
    assert found == {"session", "oauth"}


def test_a_program_that_a_person_allows_installs_a_team_and_does_nothing_else(server: Server) -> None:
    found = fetched(server, allowed(server))

    assert found.status == 200 and found.headers["cache-control"] == "no-store"
    assert (found.body["token_type"], found.body["scope"], found.body["expires_in"]) == ("Bearer", "team:install", 3600)
    program = Client(server.port, found.body["access_token"])
    team = program.post("/api/teams/install", {"archetype_id": "loop-3"})
    assert server.person.get(f"/api/spaces/{team['space_id']}")["name"] == "loop-3"
    for method, path in (("GET", "/api/actors/me"), ("GET", "/api/spaces"), ("POST", "/api/invites")):
        assert program.call(method, path, {} if method == "POST" else None).status == 403
    assert program.call("POST", "/auth/request", {"token": program.key}).status == 403
    assert form(server, "/oauth/revoke", {"token": program.key}).status == 200
    assert program.call("POST", "/api/teams/install", {"archetype_id": "loop-3"}).status == 401
    assert form(server, "/oauth/revoke", {"token": server.token}).status == 200
    assert server.person.get("/api/actors/me")["actor_type"] == "human"


def test_a_code_works_once_and_its_second_use_ends_the_key(server: Server) -> None:
    code = allowed(server)
    program = Client(server.port, fetched(server, code).body["access_token"])

    again = fetched(server, code)

    assert (again.status, again.body) == (400, {"error": "invalid_grant"})
    assert program.call("POST", "/api/teams/install", {"archetype_id": "loop-3"}).status == 401


@pytest.mark.parametrize(
    "more",
    [
        {"code_verifier": "w" * 64},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:9124/callback"},
        {"client_id": "other"},
    ],
    ids=str,
)
def test_a_key_is_for_the_program_that_asked(server: Server, more: dict[str, str]) -> None:
    assert fetched(server, allowed(server), **more).body == {"error": "invalid_grant"}
    assert fetched(server, "moot_code_x").body == {"error": "invalid_grant"}
    assert fetched(server, "", grant_type="password").body == {"error": "unsupported_grant_type"}


def test_the_page_asks_the_person_and_says_for_what(server: Server) -> None:
    answer = Client(server.port).call("GET", f"/oauth/authorize?{urlencode(WISH)}")

    assert answer.status == 200 and "mootup-cli" in answer.body and "127.0.0.1:9123" in answer.body
    assert 'type="password"' in answer.body and 'value="a&amp;b"' in answer.body
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    with_session = Client(server.port).call(
        "GET", f"/oauth/authorize?{urlencode(WISH)}", headers={"Cookie": session(server)}
    )
    assert 'type="password"' not in with_session.body


def test_a_person_with_a_session_allows_and_refuses(server: Server) -> None:
    cookie = session(server)
    given = {**WISH, "answer": "allow"}

    assert "code=" in form(server, "/oauth/authorize", given, Cookie=cookie).headers["location"]
    refused = form(server, "/oauth/authorize", {**WISH, "answer": "deny"}, Cookie=cookie)
    assert parse_qs(urlsplit(refused.headers["location"]).query) == {"error": ["access_denied"], "state": ["a&b"]}
    for headers in ({"Origin": "http://evil.example"}, {"Origin": ""}):
        assert form(server, "/oauth/authorize", given, Cookie=cookie, **headers).status == 403
    assert form(server, "/oauth/authorize", given).status == 401


def test_an_agent_allows_nothing(server: Server, agents: dict[str, Client]) -> None:
    given = {**WISH, "answer": "allow", "token": agents["Spec"].key}

    answer = form(server, "/oauth/authorize", given)

    assert answer.status == 403 and "location" not in answer.headers


@pytest.mark.parametrize(
    "more",
    [
        {"redirect_uri": "http://evil.example:80/"},
        {"redirect_uri": "https://127.0.0.1:9123/"},
        {"redirect_uri": "http://127.0.0.1/"},
        {"redirect_uri": "http://127.0.0.1:80@evil.example:80/"},
        {"redirect_uri": "http://127.0.0.1:9123/\r\nX: y"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": 'http://127.0.0.1:9123/"><script>'},
        {"scope": "all"},
        {"client_id": "<script>"},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"response_type": "token"},
    ],
    ids=str,
)
def test_a_wish_that_cannot_be_is_refused_without_a_redirect(server: Server, more: dict[str, str]) -> None:
    answers: list[Any] = [
        Client(server.port).call("GET", f"/oauth/authorize?{urlencode({**WISH, **more})}"),
        form(server, "/oauth/authorize", {**WISH, "answer": "allow", "token": server.token, **more}),
    ]

    for answer in answers:
        assert answer.status == 400 and "location" not in answer.headers
        assert not re.search("<script", answer.body)
