"""What `plan` shows before anything is done."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from claude_bottle import state
from claude_bottle.bottles import Bottles
from tests.bottles.cli.conftest import Cli, Write

BOTTLE: dict[str, object] = {
    "packages": ["jq"],
    "egress": [{"host": "api.example.com", "methods": ["GET"], "paths": ["/v1/*"]}, "*.pypi.org:443"],
    "secrets": {"TOKEN": {"env": "HOST_TOKEN", "hosts": ["api.example.com"], "header": "X-Key"}},
    "env": {"MODE": "a b"},
    "git": {"user_name": "Ada", "user_email": "ada@example.com"},
}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_TOKEN", "the-real-value")


def test_a_plan_shows_everything_and_makes_nothing(cli: Cli, agent: Write, project: Path, manifest: Path) -> None:
    agent("true", bottle=BOTTLE, prompt="be kind")

    told = cli("plan", "web", "--backend", "fake", "--copy-cwd", "--", "--verbose")

    assert (told.returncode, told.stderr) == (0, "")
    flat = " ".join(told.stdout.split())
    for part in (
        "agent web in bottle small, on fake",
        "sh -c true sh --verbose",
        "debian:12-agent",
        "packages jq",
        f"a copy of {project}",
        "prompt 7 B",
        "MODE='a b'",
        "Ada <ada@example.com>",
        "api.example.com GET /v1/* bottles.small.egress[0]",
        "*.pypi.org:443",
        "TOKEN variable HOST_TOKEN header X-Key api.example.com",
        "bottles.small.packages",
        str(manifest),
        "without any boundary",
    ):
        assert part in flat, part
    assert "the-real-value" not in told.stdout
    assert list(state.bottles_home().iterdir()) == []


def test_a_plan_fits_80_columns(cli: Cli, agent: Write) -> None:
    agent("true", bottle=BOTTLE)
    lines = cli("plan", "web", "--backend", "fake").stdout.splitlines()

    # A path is never cut: it is there to be copied.
    assert [line for line in lines if len(line) > 80 and "bottles.json" not in line] == []


def test_a_plan_as_json_has_the_same(cli: Cli, agent: Write) -> None:
    agent("true", bottle=BOTTLE)

    report = json.loads(cli("plan", "web", "--backend", "fake", "--json").stdout)

    assert report["problems"] == []
    assert report["hosts"][0]["paths"] == ["/v1/*"]
    assert report["secrets"][0]["source"] == "variable HOST_TOKEN"
    assert "the-real-value" not in json.dumps(report)
    assert any(one["key"] == "agents.web.harness" for one in report["origins"])


def test_the_model_is_allowed_without_being_named(cli: Cli, agent: Write) -> None:
    agent("true", harness="claude")
    hosts = json.loads(cli("plan", "web", "--backend", "fake", "--json").stdout)["hosts"]

    assert [(one["host"], one["reason"]) for one in hosts] == [("api.anthropic.com:443", "model API of claude")]


def test_the_model_is_named_before_the_list_unless_that_has_limits_for_it(cli: Cli, agent: Write) -> None:
    def shown() -> list[tuple[str, str]]:
        hosts = json.loads(cli("plan", "web", "--backend", "fake", "--json").stdout)["hosts"]
        return [(one["host"], one["reason"]) for one in hosts]

    agent("true", harness="claude", bottle={"egress": ["pypi.org"]})
    assert shown() == [
        ("api.anthropic.com:443", "model API of claude"),
        ("pypi.org", "bottles.small.egress[0]"),
    ]
    agent("true", harness="claude", bottle={"egress": [{"host": "api.anthropic.com.", "paths": ["/v1/*"]}]})
    assert shown() == [("api.anthropic.com.", "bottles.small.egress[0]")]


@pytest.mark.parametrize(
    ("bottle", "more", "said"),
    [
        ({"secrets": {"KEY": {"env": "NOT_SET", "hosts": ["a.example"]}}}, {}, "NOT_SET of this host is not set"),
        ({"secrets": {"KEY": {"file": "~/none", "hosts": ["a.example"]}}}, {}, "/none cannot be read"),
        ({"budget": {"usd": 1}}, {}, "bottles.small.budget"),
        ({}, {"skills": ["none"]}, "agents.web.skills"),
    ],
)
def test_what_would_fail_is_said_by_the_plan_and_refused_by_run(
    cli: Cli, agent: Write, bottle: dict[str, object], more: dict[str, object], said: str
) -> None:
    agent("true", bottle=bottle, **more)

    planned, ran = cli("plan", "web", "--backend", "fake"), cli("run", "web", "--backend", "fake")

    shown = " ".join(planned.stdout.split())
    assert planned.returncode == 2 and said in shown and "a launch would fail" in shown
    assert ran.returncode == 125 and said in ran.stderr
    assert list(state.bottles_home().iterdir()) == []


def test_a_project_that_is_not_approved_launches_nothing_and_no_secret_is_read(
    cli: Cli, agent: Write, project: Path, manifest: Path
) -> None:
    agent("true", bottle={"secrets": {"KEY": {"env": "NOT_SET", "hosts": ["evil.example"]}}})
    manifest.rename(project / "bottles.json")

    planned, ran = cli("plan", "web", "--backend", "fake"), cli("run", "web", "--backend", "fake")

    assert planned.returncode == 2 and "is not approved" in planned.stdout
    assert "KEY   variable NOT_SET" in planned.stdout and "is not set" not in planned.stdout
    assert ran.returncode == 125 and "claude-bottle trust" in ran.stderr
    assert list(state.bottles_home().iterdir()) == []


def test_a_password_in_a_remote_and_a_secret_without_its_host_are_warned_of(
    cli: Cli, agent: Write, project: Path
) -> None:
    agent("true", bottle={"secrets": {"TOKEN": {"env": "HOST_TOKEN", "hosts": ["git.example"]}}})
    subprocess.run(["git", "init", "--quiet", project], check=True)
    url = "https://ada:secret-word@git.example/x.git"
    subprocess.run(["git", "-C", project, "remote", "add", "origin", url], check=True)

    shown = cli("plan", "web", "--backend", "fake", "--copy-cwd").stdout
    shown = " ".join(shown.split())

    assert "origin https://git.example/x.git" in shown
    assert "origin has a password in .git/config" in shown
    assert "secret TOKEN is for git.example, which the bottle may not reach" in shown
    assert "secret-word" not in shown


def test_a_plan_names_the_file_of_each_key_also_of_names_that_are_quoted(cli: Cli, manifest: Path) -> None:
    manifest.parent.mkdir(parents=True)
    agents = {"a.b": {"bottle": "1", "harness": ["true"]}, "a": {"bottle": "1"}}
    manifest.write_text(json.dumps({"bottles": {"1": {"env": {"A": "b"}}}, "agents": agents}))

    report = json.loads(cli("plan", "a.b", "--backend", "fake", "--json").stdout)

    assert {one["key"] for one in report["origins"]} == {
        'agents["a.b"].bottle',
        'agents["a.b"].harness',
        'bottles["1"].env.A',
    }


def test_the_plan_says_what_the_agent_may_ask_for(cli: Cli, agent: Write) -> None:
    secret = {"env": "PATH", "hosts": ["a.example"], "ask": True}
    agent("true", bottle={"supervise": {"capabilities": ["host", "time"]}, "secrets": {"KEY": secret}})

    shown = " ".join(cli("plan", "web", "--backend", "fake").stdout.split())

    assert "requests the agent may ask you for: host, time" in shown
    assert "KEY variable PATH header Authorization, when approved a.example" in shown


def test_a_plan_as_json_has_limits_and_remotes_that_a_program_can_read(cli: Cli, agent: Write, project: Path) -> None:
    subprocess.run(["git", "init", "--quiet", project], check=True)
    subprocess.run(["git", "-C", project, "remote", "add", "origin", "https://ada@git.example/x.git"], check=True)
    push = [{"ref": "refs/heads/agent/*"}, {"ref": "refs/heads/wip", "approve": "always"}]
    remotes = {"up": {"url": "https://git.example/y.git", "fetch": False, "push": push}}
    budget = {"usd": 1.5, "day": {"tokens": 5000}, "bottle": {"requests": 7}}
    agent("true", harness="claude", bottle={"budget": budget, "git": {"remotes": remotes}})

    report = json.loads(cli("plan", "web", "--backend", "fake", "--copy-cwd", "--json").stdout)
    shown = " ".join(cli("plan", "web", "--backend", "fake", "--copy-cwd").stdout.split())

    assert report["budget"] == [
        {"span": "run", "unit": "usd", "limit": 1.5},
        {"span": "day", "unit": "tokens", "limit": 5000},
        {"span": "bottle", "unit": "requests", "limit": 7},
    ]
    assert report["git"]["remotes"] == [{"name": "origin", "url": "https://git.example/x.git"}]
    allowed = [{"ref": "refs/heads/agent/*", "approve": "ask"}, {"ref": "refs/heads/wip", "approve": "always"}]
    assert report["git"]["gate"] == [
        {"name": "up", "url": "https://git.example/y.git", "fetch": False, "push": allowed}
    ]
    assert "budget $1.50 for one run, 5,000 tokens for one day (UTC), 7 requests for all runs together" in shown
    assert "remotes in the copy: origin https://git.example/x.git" in shown
    assert "up is https://git.example/y.git: push refs/heads/agent/*, push refs/heads/wip without asking" in shown


@pytest.mark.parametrize(
    ("below", "warned"),
    [(".", "is or contains your home"), ("..", "is or contains your home"), ("project", "has a folder .ssh")],
)
def test_a_plan_warns_before_more_than_a_project_is_copied(
    agent: Write, project: Path, home: Path, below: str, warned: str
) -> None:
    agent("true")
    keys = project / ".ssh"
    keys.mkdir()
    bottles = Bottles(folder=home / below)
    found = " ".join(bottles.plan("web", backend="fake", copy_cwd=True)["warnings"])
    assert f"the copied folder {(home / below).resolve()} {warned}" in found
    assert "copied folder" not in " ".join(bottles.plan("web", backend="fake")["warnings"])
    keys.rmdir()
    ordinary = Bottles(folder=project).plan("web", backend="fake", copy_cwd=True)["warnings"]
    assert "copied folder" not in " ".join(ordinary)
