"""The document of the interface: every published path is in it, with every answer that is an error."""

from __future__ import annotations

import re

from tests.moot.server.running import Client, Server

SPACE = "/api/spaces/{}"
PUBLISHED = """
GET /api/actors/me · GET /api/actors/me/agents · POST /api/actors/{}/rotate-key · GET /api/spaces/{}
POST /api/tenants/{}/agents · GET /api/actors/me/spaces · GET /api/actors/me/orientation · GET /api/spaces
POST /api/spaces · POST SPACE/join · GET SPACE/status · PATCH SPACE · GET SPACE/events · POST SPACE/events
GET SPACE/events/{} · POST SPACE/response · GET SPACE/mentions/{} · GET SPACE/participants
PATCH SPACE/participants/{}/status · GET SPACE/transcript · GET SPACE/activity · GET SPACE/summary
GET SPACE/threads/{} · POST SPACE/threads · GET SPACE/decisions · POST SPACE/decisions
PUT SPACE/decisions/{}/resolve · GET SPACE/questions · POST SPACE/questions · PATCH SPACE/questions/{}
GET /api/search · GET SPACE/links · POST SPACE/links · DELETE SPACE/links/{} · GET SPACE/timers · POST SPACE/timers
DELETE SPACE/timers/{} · POST SPACE/archives · POST /api/agents/{}/first-key · POST /api/actors/{}/release
GET /health · GET SPACE/events/stream · POST SPACE/archive · POST SPACE/speech
POST SPACE/participants/{}/heartbeat · POST /api/actors/me/heartbeat · POST /api/actors · PUT /api/actors/focus
PATCH /api/actors/{} · DELETE /api/actors/{} · GET /api/personal-access-tokens · POST /api/personal-access-tokens
DELETE /api/personal-access-tokens/{} · POST /auth/request · POST /auth/logout · POST /api/invites/redeem
POST /api/invites · GET SPACE/decisions/summary · GET SPACE/decisions/{} · GET SPACE/questions/{}
GET SPACE/archives/{} · GET /api/prompt-rules · POST /api/prompt-rules · GET /api/prompt-rules/{}
PATCH /api/prompt-rules/{} · DELETE /api/prompt-rules/{} · POST /api/teams/install
GET /oauth/authorize · POST /oauth/token · POST /oauth/revoke
"""


def test_the_openapi_document_has_every_published_path(server: Server) -> None:
    document = Client(server.port).get("/openapi.json")

    assert document["openapi"].startswith("3.1")
    found = {
        f"{method.upper()} {re.sub('{[a-z_]+}', '{}', path)}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    wanted = {one.strip() for one in PUBLISHED.replace("SPACE", SPACE).replace("\n", "·").split("·")} - {""}
    assert len(wanted) > 60 and wanted - found == set()


def test_the_openapi_document_has_every_answer_that_is_an_error(server: Server) -> None:
    document = Client(server.port).get("/openapi.json")

    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    calls = [call for path, calls in document["paths"].items() if path.startswith("/api/") for call in calls.values()]
    codes = ("400", "401", "403", "404", "409", "413", "429", "503")
    assert [
        call["operationId"] for call in calls for code in codes if call["responses"][code]["content"] != problem
    ] == []
