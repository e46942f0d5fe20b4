"""Each harness is launched with what its program needs, keeps the user's files, and shows no key."""

from __future__ import annotations

import json
import os
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moot.agents.place import AgentPlace, HostFiles
from moot.harness import harness_named
from moot.harness.table import HARNESSES
from moot.known_words import HARNESSES as NAMES
from pyro_mcp.errors import InvalidRequest
from tests.moot.harness_places import Settings, place_in

LAUNCHABLE = ("claude-code", "codex", "opencode")
KEY = "sk-ant-0123456789abcdefghijklmnop"
RULE, MARK = "\u2500" * 60, "\u276f"


@pytest.fixture
def place(tmp_path: Path) -> AgentPlace:
    return place_in(tmp_path)


def test_moot_toml_can_name_each_harness_and_no_other() -> None:
    assert set(HARNESSES) == set(NAMES)
    assert [harness_named(name).name for name in NAMES] == list(NAMES)


@pytest.mark.parametrize("name", ["cursor", "aider"])
def test_a_harness_that_cannot_be_launched_says_so_before_anything_is_made(name: str, place: AgentPlace) -> None:
    before = sorted(Path(place.project).rglob("*"))
    harness, agent = harness_named(name), Settings(role="librarian")
    with pytest.raises(InvalidRequest, match=r"agents\.librarian\.harness") as refused:
        harness.check(agent)
    assert "claude-code, codex or opencode" in refused.value.hint
    with pytest.raises(InvalidRequest):
        harness.seed(agent, place, HostFiles(), environ={}, permission_mode="default")
    assert sorted(Path(place.project).rglob("*")) == before


def test_claude_code_gets_its_options_and_the_prompt_last(place: AgentPlace) -> None:
    agent = Settings(model="opus", effort="high")
    argv = harness_named("claude-code").argv(agent, place, prompt="--help", permission_mode="plan")
    assert argv == [
        *("claude", "--permission-mode", "plan", "--dangerously-load-development-channels", "server:convo-channel"),
        *("--mcp-config", f"{place.run_folder}/mcp.json", "--settings", f"{place.run_folder}/settings.json"),
        *("--model", "opus", "--effort", "high", "--", "--help"),
    ]


@pytest.mark.parametrize("name", LAUNCHABLE)
def test_no_key_is_on_a_command_line_or_in_a_file(name: str, place: AgentPlace) -> None:
    harness, environ = harness_named(name), {"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY, "CONVO_API_KEY": KEY}
    harness.check(Settings())
    harness.seed(Settings(), place, HostFiles(), environ=environ, permission_mode="bypassPermissions")
    argv = harness.argv(Settings(), place, prompt="go", permission_mode="bypassPermissions")
    variables = harness.variables(Settings(), place, permission_mode="bypassPermissions")
    assert KEY not in f"{argv}{variables}"
    written = [path for path in Path(place.project).rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert KEY not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0


def test_claude_code_finds_its_servers_and_no_first_question(place: AgentPlace) -> None:
    settings = Path(place.home, ".claude.json")
    settings.write_text(json.dumps({"numStartups": 7, "projects": {place.tree: {"allowedTools": ["Bash"]}}}))
    harness_named("claude-code").seed(Settings(), place, HostFiles(), environ={}, permission_mode="default")

    found = json.loads(settings.read_text())
    assert found["numStartups"] == 7 and found["hasCompletedOnboarding"] is True
    assert found["projects"][place.tree] == {"allowedTools": ["Bash"], "hasTrustDialogAccepted": True}
    assert found["projects"][place.project]["hasTrustDialogAccepted"] is True
    servers = json.loads(Path(place.run_folder, "mcp.json").read_text())["mcpServers"]
    assert list(servers) == ["convo", "convo-channel"]
    assert servers["convo"]["args"] == ["-P", "-m", "moot.adapters.mcp_runner"]
    assert servers["convo"]["env"] == {"CONVO_ROLE": "spec", "CONVO_WORKTREE": place.tree}


def test_what_a_running_claude_code_writes_meanwhile_is_kept(place: AgentPlace) -> None:
    settings, lock = Path(place.home, ".claude.json"), Path(place.home, ".claude.json.lock")
    settings.write_text("{}")
    lock.mkdir()  # Claude Code is about to write
    with ThreadPoolExecutor(1) as threads:
        seeding = threads.submit(
            harness_named("claude-code").seed,
            *(Settings(), place, HostFiles()),
            environ={},
            permission_mode="default",
        )
        with pytest.raises(TimeoutError):
            seeding.result(0.3)
        settings.write_text('{"numStartups": 8}')
        lock.rmdir()
        seeding.result(30)
    found = json.loads(settings.read_text())
    assert found["numStartups"] == 8 and found["hasCompletedOnboarding"] is True
    assert not lock.exists()


def test_the_lock_of_a_killed_claude_code_is_taken_over(place: AgentPlace) -> None:
    lock = Path(place.home, ".claude.json.lock")
    lock.mkdir()
    os.utime(lock, (1, 1))
    harness_named("claude-code").seed(Settings(), place, HostFiles(), environ={}, permission_mode="default")
    assert Path(place.home, ".claude.json").exists() and not lock.exists()


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("claude-code", ".claude.json", "{half"),
        ("claude-code", ".claude.json", "[]"),
        ("codex", ".codex/config.toml", "="),
    ],
)
def test_a_file_of_the_user_that_is_not_understood_is_left_alone(
    name: str, file: str, text: str, place: AgentPlace
) -> None:
    path = Path(place.home, file)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(InvalidRequest, match="is not valid"):
        harness_named(name).seed(Settings(), place, HostFiles(), environ={}, permission_mode="default")
    assert path.read_text() == text


def test_codex_trusts_the_worktree_and_keeps_the_rest(place: AgentPlace) -> None:
    path = Path(place.home, ".codex/config.toml")
    path.parent.mkdir()
    path.write_text('# mine\nmodel = "x"\n\n[projects."/other"]\ntrust_level = "untrusted"\n')
    codex = harness_named("codex")
    codex.seed(Settings(), place, HostFiles(), environ={}, permission_mode="default")
    codex.seed(Settings(), place, HostFiles(), environ={}, permission_mode="default")
    found = tomllib.loads(path.read_text())
    assert path.read_text().startswith('# mine\nmodel = "x"\n')
    assert found["projects"] == {"/other": {"trust_level": "untrusted"}, place.tree: {"trust_level": "trusted"}}


@pytest.mark.parametrize(
    ("name", "agent", "field"),
    [
        ("codex", Settings(model="opus"), "agents.spec.model"),
        ("opencode", Settings(model="opus"), "agents.spec.model"),
    ],
)
def test_a_setting_of_another_harness_is_refused(name: str, agent: Settings, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        harness_named(name).check(agent)


@pytest.mark.parametrize("name", LAUNCHABLE)
def test_a_login_is_found_in_a_file_or_in_the_environment(name: str, place: AgentPlace) -> None:
    harness, files = harness_named(name), HostFiles()
    assert not harness.logged_in(place, files, environ={})
    assert harness.logged_in(place, files, environ={"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY})
    logins = {
        "claude-code": (".claude/.credentials.json", {"claudeAiOauth": {"accessToken": "t"}}),
        "codex": (".codex/auth.json", {"tokens": {"access_token": "t"}}),
        "opencode": (".local/share/opencode/auth.json", {"anthropic": {"type": "oauth"}}),
    }
    path, content = logins[name]
    files.write(f"{place.home}/{path}", json.dumps(content))
    assert harness.logged_in(place, files, environ={})
    files.write(f"{place.home}/{path}", "{broken")
    assert not harness.logged_in(place, files, environ={})


def test_a_dialog_that_only_a_person_may_answer_is_known() -> None:
    claude, mark = harness_named("claude-code"), MARK
    lines = ["Detected a custom API key in your environment", "ANTHROPIC_API_KEY: sk-ant-...6789abcdefghijklmnop"]
    lines += [
        "Do you want to use this API key?",
        "  Yes",
        f"{mark} No (recommended)",
        "",
        "Enter to confirm · Esc to cancel",
    ]
    screen = "\n".join(f"  {line}" for line in lines) + "\n\n"
    assert claude.startup_question(screen) == "whether it may use your ANTHROPIC_API_KEY"
    assert claude.startup_key(screen) == ""
    assert claude.startup_question("  Something new?\n  Enter to confirm\n") == "something in a dialog"
    assert claude.startup_question(f"{screen}{RULE}\n{MARK}\n{RULE}\n") == ""
    ours = f"Loading development channels\n {mark} 1. I am using this for local development\nEnter to confirm"
    assert claude.startup_question(ours) == ""
    assert [harness_named(name).startup_question(screen) for name in HARNESSES if name != "claude-code"] == [""] * 4


def test_only_the_dialog_of_the_channel_flag_is_answered() -> None:
    claude, mark = harness_named("claude-code"), MARK
    dialog = f"WARNING: Loading development channels\n {mark} 1. I am using this for local development\n   2. Exit"
    assert claude.startup_key(dialog) == "Enter"
    assert claude.startup_key(dialog.replace(f"{mark} 1", "  1").replace("  2", f"{mark} 2")) == ""
    assert claude.startup_key(f"Do you trust this folder?\n {mark} 1. Yes") == ""
    assert [harness_named(name).startup_key(dialog) for name in HARNESSES if name != "claude-code"] == [""] * 4


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("claude-code", "@a ada@b.c\n@QA (@x", "\\@a ada@b.c\n\\@QA (\\@x"),
        ("claude-code", "ULTRAthink", "ULTRA-think"),
        ("codex", "$a costs $5 or 5$ [$b](c)", "$ a costs $5 or 5$ [$ b](c)"),
        ("opencode", "@a $b", "@a $b"),
    ],
)
def test_a_text_of_somebody_else_is_no_command_of_a_prompt(name: str, text: str, found: str) -> None:
    assert harness_named(name).inert(text) == found
