"""A login that is kept for an agent, on the fake backend; the program `claude` is a script."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from claude_bottle import state
from claude_bottle.guard.presence import SOCKET
from claude_bottle.guard.settings import guard_dir
from claude_bottle.logins import kept_login
from pyro_mcp.host.files import private_directory
from tests.bottles.cli.conftest import Cli
from tests.waiting import until

SECRET = "sk-ant-ort01-the-first-refresh-token"  # noqa: S105 - made up
RENEWED = "sk-ant-ort01-the-second-refresh-token"
ACCOUNT = {"emailAddress": "jane@example.com", "accountUuid": "1-2-3"}
LOG_IN = "mkdir -p ~/.claude; echo '{}' >~/.claude/.credentials.json; echo '{}' >~/.claude.json"


def tokens(refresh: str) -> dict[str, Any]:
    return {"claudeAiOauth": {"accessToken": f"at-of-{refresh}", "refreshToken": refresh, "expiresAt": 1}}


def log_in(refresh: str) -> str:
    """The script of an agent that logs in, as Claude Code leaves its files."""
    config = json.dumps({"oauthAccount": ACCOUNT, "numStartups": 3, "projects": {}})
    return LOG_IN.format(json.dumps({**tokens(refresh), "mcpOAuth": {"x": 1}}), config)


@pytest.fixture
def claude(home: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the script that is `claude`, and the manifest with the agents `dev` and `other`, who keep their logins."""
    programs = home / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    agent = {"bottle": "small", "login": "keep"}
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"bottles": {"small": {}}, "agents": {"dev": agent, "other": agent}}))

    def write(script: str) -> None:
        (programs / "claude.new").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "claude.new").chmod(0o755)
        (programs / "claude.new").rename(programs / "claude")

    return write


def kept_file() -> Path:
    return state.bottles_home().parent / "logins/dev/claude.json"


def run(cli: Cli, agent: str = "dev") -> str:
    """Run an agent to its end; return the output."""
    ran = cli("run", agent, "--backend", "fake")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def start(cli: Cli, agent: str = "dev") -> str:
    ran = cli("run", agent, "--backend", "fake", "-d")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


SHOW = "cat ~/.claude/.credentials.json ~/.claude.json; stat -c %a ~/.claude/.credentials.json ~/.claude.json"


def test_a_login_reaches_the_next_bottle_of_its_agent_and_no_other(cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET))
    assert run(cli) == ""
    claude(SHOW)

    shown = run(cli)
    of_other = cli("run", "other", "--backend", "fake")

    assert tokens(SECRET) == json.JSONDecoder().raw_decode(shown)[0]
    assert json.dumps({"oauthAccount": ACCOUNT}) in shown and "numStartups" not in shown and "mcpOAuth" not in shown
    assert shown.endswith("600\n600\n")
    assert SECRET not in of_other.stdout and of_other.returncode != 0
    kept = kept_file()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (kept.parent, kept.parent.parent)} == {0o700}


def test_the_token_is_in_no_plan_status_or_record(cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET))
    run(cli)
    claude("sleep 600")
    slug = start(cli)

    said = [
        cli(*words).stdout + cli(*words, "--json").stdout
        for words in (("plan", "dev", "--backend", "fake"), ("status", slug), ("list",), ("logs", slug), ("diff", slug))
    ]

    assert "login        kept " in said[0] and '"kept_at": 1' in said[0] and '"platform.claude.com:443"' in said[0]
    assert "login of claude" in said[0]
    assert "it has the login that is kept for its agent" in said[1] and '"login": true' in said[1]
    assert not any(SECRET in text for text in said)
    assert SECRET not in (state.bottle_dir(slug) / "record.json").read_text()


@pytest.mark.usefixtures("claude")
def test_a_login_that_nobody_made_yet_is_planned_as_such(cli: Cli) -> None:
    shown = cli("plan", "dev", "--backend", "fake").stdout

    assert "not kept yet: log in in the bottle" in " ".join(shown.split())


def test_a_login_is_lent_to_one_bottle_at_a_time(cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET) + "; sleep 600")
    first = start(cli)

    refused = cli("run", "dev", "--backend", "fake", "-d")

    assert refused.returncode == 125
    assert f"the login of the agent dev is in use in the bottle {first}" in " ".join(refused.stderr.split())
    assert state.slugs() == [first]
    assert start(cli, "other")
    cli("stop", first)
    claude(SHOW)
    assert SECRET in run(cli)


def test_the_newer_token_is_kept_and_an_older_bottle_cannot_bring_the_used_one_back(cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET))
    run(cli)
    first = state.slugs()[0]
    claude(f"grep -q {SECRET} ~/.claude/.credentials.json && {log_in(RENEWED)}")
    run(cli)

    cli("status", first)
    assert cli("stop", first).returncode == 0

    assert kept_login("dev", "claude").files[".claude/.credentials.json"] == tokens(RENEWED)


def test_a_renewed_token_is_kept_while_the_agent_runs(cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET) + "; sleep 600")
    slug = start(cli)

    until("the login is kept", lambda: (cli("status", slug), kept_login("dev", "claude").files)[1], bool)


def test_a_renewed_token_is_kept_when_the_next_command_ends_a_killed_stop(cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET) + "; sleep 600")
    slug = start(cli)
    until("the agent has logged in", lambda: cli("status", slug) and kept_login("dev", "claude").files, bool)
    home = state.stage_dir(slug) / "home"
    (home / ".claude/.credentials.json").write_text(json.dumps(tokens(RENEWED)))
    with pytest.raises(KeyboardInterrupt), state.removing(slug):
        raise KeyboardInterrupt

    cli("list")

    assert state.slugs() == []
    assert kept_login("dev", "claude").files[".claude/.credentials.json"] == tokens(RENEWED)


NESTED = '{"claudeAiOauth": ' + '{"a": ' * 700 + "1" + "}" * 701
HOSTILE = {
    "no JSON": "echo '{' >~/.claude/.credentials.json",
    "no object": "echo '[1]' >~/.claude/.credentials.json",
    "deep": "yes '[' | head -c 200000 >~/.claude/.credentials.json",
    "an object as deep as JSON can be read": f"printf %s '{NESTED}' >~/.claude/.credentials.json",
    "large": "truncate -s 1T ~/.claude/.credentials.json",
    "large account": 'printf \'{"oauthAccount": "%0300000d"}\' 1 >~/.claude.json',
    "a link": "ln -sf /etc/passwd ~/.claude/.credentials.json",
    "a pipe": "rm ~/.claude/.credentials.json; mkfifo ~/.claude/.credentials.json",
    "a folder": "rm ~/.claude/.credentials.json; mkdir ~/.claude/.credentials.json",
}


def test_a_problem_of_the_guard_does_not_hide_that_of_the_login(cli: Cli, claude: Any) -> None:
    claude(f"mkdir -p ~/.claude; {HOSTILE['a link']}; sleep 600")
    slug = start(cli)
    # What a guard leaves that was killed: its socket, and nobody who holds its lock.
    (private_directory(guard_dir(slug)) / SOCKET).touch()

    problems = until("both problems", lambda: json.loads(cli("status", slug, "--json").stdout)["problems"], two)

    assert "its login could not be read" in problems[0] and "its guard has ended" in problems[1]


def two(found: list[str]) -> bool:
    return len(found) == 2


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_changes_nothing_and_is_reported(change: str, cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET))
    run(cli)
    claude(change)
    run(cli)
    slug = next(one for one in state.slugs() if kept_login("dev", "claude").lent_to == one)

    shown = cli("status", slug).stdout
    stopped = cli("stop", slug)

    assert "its login could not be read" in " ".join(shown.split())
    assert stopped.returncode == 0 and "its login could not be read" in " ".join(stopped.stderr.split())
    assert kept_login("dev", "claude").files[".claude/.credentials.json"] == tokens(SECRET)


@pytest.mark.parametrize("change", ["rm ~/.claude/.credentials.json", "echo '{}' >~/.claude/.credentials.json"])
def test_an_agent_that_logs_out_leaves_the_kept_login(change: str, cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET))
    run(cli)
    claude(change)
    run(cli)

    assert kept_login("dev", "claude").files[".claude/.credentials.json"] == tokens(SECRET)


def test_logout_removes_the_login_for_good(cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET) + "; sleep 600")
    slug = start(cli)
    until("the login is kept", lambda: (cli("status", slug), kept_login("dev", "claude").files)[1], bool)

    out = cli("logout", "dev")

    assert out.returncode == 0 and f"{slug} still has it" in out.stdout
    assert not kept_file().parent.exists()
    cli("status", slug)
    cli("stop", slug)
    assert kept_login("dev", "claude").files == {}
    again = cli("logout", "dev")
    assert again.returncode == 3 and "no login is kept for an agent 'dev'" in again.stderr


@pytest.mark.parametrize("name", ["../dev", "", ".", "..", "/", "a\nb"])
def test_logout_touches_nothing_but_kept_logins(name: str, cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET))
    run(cli)

    assert cli("logout", name).returncode == 3
    assert kept_login("dev", "claude").files


def test_a_damaged_login_is_named_and_can_be_removed(cli: Cli, claude: Any) -> None:
    claude(log_in(SECRET))
    run(cli)
    path = kept_file()
    path.write_text(f'{{"lent_to": "{SECRET}')

    refused = cli("run", "dev", "--backend", "fake")

    assert refused.returncode == 125 and "claude.json is damaged" in refused.stderr and SECRET not in refused.stderr
    assert "'claude-bottle logout dev' removes it" in refused.stderr
    assert cli("list").returncode == 0
    assert cli("logout", "dev").returncode == 0
    assert not path.exists()


def test_a_kept_login_that_is_too_deep_to_be_read_is_damaged_and_keeps_no_bottle_from_its_removal(
    cli: Cli, claude: Any
) -> None:
    claude(log_in(SECRET))
    run(cli)
    path = kept_file()
    path.write_text('{"lent_to": "x", "kept_at": 1, "files": ' + '{"a": ' * 5000 + "1" + "}" * 5001)

    assert cli("list").returncode == 0
    stopped = cli("stop", "--all")
    assert stopped.returncode == 0 and "claude.json is damaged" in " ".join(stopped.stderr.split())
    assert state.slugs() == []


def test_a_command_has_no_login_that_could_be_kept(cli: Cli, manifest: Path) -> None:
    manifest.parent.mkdir(parents=True)
    agent = {"bottle": "b", "harness": ["sh"], "login": "keep"}
    manifest.write_text(json.dumps({"bottles": {"b": {}}, "agents": {"dev": agent}}))

    checked = cli("check")

    assert checked.returncode == 2 and "agents.dev.login: can only be kept for claude, codex, opencode" in (
        " ".join(checked.stderr.split())
    )


def test_a_project_cannot_take_a_kept_login_before_it_is_trusted(cli: Cli, claude: Any, project: Path) -> None:
    claude(log_in(SECRET))
    run(cli)
    (project / "bottles.json").write_text(
        json.dumps({"bottles": {"small": {"egress": ["evil.example"]}}, "agents": {"dev": {"bottle": "small"}}})
    )

    refused = cli("run", "dev", "--backend", "fake")

    assert refused.returncode == 125 and "not approved" in " ".join(refused.stderr.split())
    shown = " ".join(cli("trust", "--show").stdout.split())
    assert "your kept login of the agent dev enters its bottles" in shown


def test_an_agent_without_a_key_and_a_login_is_warned_about(
    cli: Cli, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"bottles": {"b": {}}, "agents": {"dev": {"bottle": "b"}}}))
    said = "the agent has no API key: set ANTHROPIC_API_KEY on this computer"

    assert said in " ".join(cli("plan", "dev", "--backend", "fake").stdout.split())
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk")
    assert said not in " ".join(cli("plan", "dev", "--backend", "fake").stdout.split())
