"""What a person does with bottles, from the launch to the stop, on the fake backend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle import state
from claude_bottle.backend.table import BACKENDS
from tests.bottles.cli.conftest import COMMAND, Cli, Write, launched
from tests.terminal.person import at_terminal
from tests.waiting import until


def state_of(cli: Cli, slug: str) -> str:
    return str(json.loads(cli("status", slug, "--json").stdout)["state"])


def test_a_run_without_a_terminal_prints_the_output_and_returns_the_exit_code(
    cli: Cli, agent: Write, project: Path
) -> None:
    agent("cat greeting.txt; echo changed >greeting.txt; echo new >new.txt; exit 3")

    ran = cli("run", "web", "--backend", "fake", "--copy-cwd")
    slug = state.slugs()[0]

    assert (ran.returncode, ran.stdout) == (3, "hello\n")
    assert f"{slug} ended with exit code 3" in ran.stderr and f"claude-bottle diff {slug}" in ran.stderr
    assert f"{slug}: ended with exit code 3" in cli("status", "web").stdout
    diff = cli("diff", slug).stdout
    assert "-hello\n+changed" in diff and "+new" in diff
    assert (project / "greeting.txt").read_text() == "hello\n"
    assert cli("export", slug, "new.txt", "--output", "out.txt").stdout == f"{project}/out.txt\n"
    assert (project / "out.txt").read_text() == "new\n"
    assert cli("export", slug, "--output", "tree").returncode == 0
    assert sorted(path.name for path in (project / "tree").iterdir()) == ["greeting.txt", "new.txt"]
    assert cli("stop", slug).stdout == f"{slug} is removed\n"
    assert "no bottles" in cli("list").stdout
    assert list(state.bottles_home().iterdir()) == []


def test_words_after_the_dashes_reach_the_agent(cli: Cli, agent: Write) -> None:
    agent('for word; do echo "<$word>"; done', args=["own"])

    ran = cli("run", "web", "--backend", "fake", "--", "-p", "fix it", "--", "")

    assert ran.stdout.splitlines() == ["<own>", "<-p>", "<fix it>", "<-->", "<>"]


def test_a_prompt_of_any_text_arrives_and_is_private(cli: Cli, agent: Write) -> None:
    prompt = "Grüße 🍾\u200f\x00".replace("\x00", "") + "'\"$(id)\n\tend"
    agent('cat "$CLAUDE_BOTTLE_PROMPT_FILE"; sleep 600', prompt=prompt)
    slug = launched(cli)

    until("the prompt is shown", lambda: cli("logs", slug).stdout, lambda shown: "end" in shown)
    stage = state.stage_dir(slug)
    assert (stage / "home/.claude-bottle-prompt.txt").read_text() == prompt
    assert state.prompt_file(stage).stat().st_mode & 0o777 == 0o600
    assert stage.stat().st_mode & 0o777 == 0o700


def test_status_and_list_say_what_the_agent_does(cli: Cli, agent: Write, project: Path) -> None:
    ready = project / "word"
    agent(f"while :; do if [ -e {ready} ]; then mv {ready} ~/.claude-bottle-state; fi; sleep 0.01; done")
    slug = launched(cli)
    assert state_of(cli, slug) == "running"

    for word, shown in (("idle", "idle"), ("waiting_for_permission", "waiting for permission"), ("running", "running")):
        (project / "new").write_text(word)
        (project / "new").rename(ready)
        until("the agent reports it", lambda: state_of(cli, slug), shown.__eq__)
        listed = json.loads(cli("list", "--json").stdout)
        assert [one["state"] for one in listed["bottles"]] == [shown]
    assert slug in cli("list").stdout


def test_an_agent_that_was_killed_has_ended(cli: Cli, agent: Write) -> None:
    agent("kill -9 $$")
    slug = launched(cli)

    until("it has ended", lambda: state_of(cli, slug), lambda found: found == "ended")
    assert json.loads(cli("status", slug, "--json").stdout)["exit_code"] == 137


def test_two_bottles_of_one_agent_run_at_once(cli: Cli, agent: Write) -> None:
    agent("echo $$ >pid; sleep 600")
    first, second = launched(cli), launched(cli)

    assert {one["slug"] for one in json.loads(cli("list", "--json").stdout)["bottles"]} == {first, second}
    told = cli("status", "web")
    assert told.returncode == 2 and first in told.stderr and second in told.stderr
    assert cli("stop", first).returncode == 0
    assert state_of(cli, second) == "running"
    assert cli("stop", "--all").stdout == f"{second} is removed\n"


def test_logs_show_what_was_refused_and_how_to_allow_it(cli: Cli, agent: Write, manifest: Path) -> None:
    agent("printf 'one\\r\\033[31mtwo\\033[0m\\n'; sleep 600")
    slug = launched(cli)
    until("the output is there", lambda: cli("logs", slug).stdout, lambda shown: "two" in shown)
    refused = {"at": 1.0, "verdict": "refused", "protocol": "tcp", "name": "evil.example", "address": None}
    entries = [
        {"at": 0.0, "verdict": "allowed", "protocol": "tcp", "name": "api.example", "port": 443, "reason": ""},
        {**refused, "port": 443, "reason": "not in the allow list"},
        {**refused, "port": 443, "reason": "not in the allow list"},
        {**refused, "port": 22, "name": "a\x1b[2Jb", "reason": "not in the allow list"},
    ]
    (state.stage_dir(slug) / "network.json").write_text(json.dumps(entries))

    shown = cli("logs", slug).stdout
    assert shown.startswith("two\n") and "\x1b" not in shown
    assert "evil.example:443 (2 times): not in the allow list" in shown
    assert 'add "evil.example" to bottles.small.egress in' in shown.replace("\n    ", " ")
    assert "api.example" not in shown
    assert "allowed" in cli("logs", slug, "--network").stdout
    report = json.loads(cli("logs", slug, "--json").stdout)
    assert [one["count"] for one in report["refused"]] == [2, 1]
    assert str(manifest) in report["refused"][0]["hint"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "web", "--backend", "prio"], 125, "did you mean 'pyro'?"),
        (["run", "web", "--backend", "x"], 125, f"choose from {', '.join(BACKENDS)}"),
        (["run", "wbe", "--backend", "fake"], 125, "did you mean 'web'?"),
        (["plan", "wbe"], 3, "did you mean 'web'?"),
        (["status", "web"], 3, "'claude-bottle list' shows the bottles"),
        (["stop"], 2, "--all"),
        (["attach", "web-1"], 125, "there is no bottle"),
        (["stpo", "web"], 2, "did you mean 'stop'?"),
    ],
)
def test_what_cannot_be_is_refused_with_advice(cli: Cli, agent: Write, words: list[str], code: int, said: str) -> None:
    agent("true")
    told = cli(*words)

    assert (told.returncode, told.stdout) == (code, "")
    assert said in told.stderr and "Traceback" not in told.stderr
    assert list(state.bottles_home().iterdir()) == []


def test_the_fake_backend_is_not_offered(cli: Cli, agent: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAUDE_BOTTLE_FAKE")
    agent("true")

    told = cli("run", "web", "--backend", "fake")
    assert told.returncode == 125 and "there is no backend 'fake'" in told.stderr
    assert "fake" not in cli("run", "--help").stdout


def test_a_bottle_that_was_removed_without_us_is_gone(cli: Cli, agent: Write) -> None:
    agent("sleep 600")
    slug = launched(cli)
    backend_file = state.stage_dir(slug) / "agent.json"
    kept = backend_file.read_text()
    backend_file.unlink()

    assert f"{slug}: gone" in cli("status", slug).stdout
    assert "removes its record" in cli("diff", slug).stderr
    backend_file.write_text(kept)
    assert cli("stop", slug).returncode == 0


def test_doctor_says_what_each_backend_lacks(cli: Cli) -> None:
    report = json.loads(cli("doctor", "--json").stdout)

    assert [one["name"] for one in report["backends"]] == list(BACKENDS)
    assert all(one["ready"] == (not one["problems"]) for one in report["backends"])


def test_a_change_that_no_patch_can_carry_is_named(cli: Cli, agent: Write) -> None:
    agent("mkfifo pipe; exit 0")
    assert cli("run", "web", "--backend", "fake").returncode == 0

    shown, report = cli("diff", "web"), json.loads(cli("diff", "web", "--json").stdout)

    assert shown.stdout == "" and "no changes" not in shown.stderr
    assert "not in the patch (binary, too large or special): pipe" in shown.stderr
    assert (report["changed"], report["diff"], report["not_in_patch"]) == (True, "", ["pipe"])


def test_an_unchanged_tree_has_no_changes(cli: Cli, agent: Write) -> None:
    agent("exit 0")
    assert cli("run", "web", "--backend", "fake").returncode == 0

    assert cli("diff", "web").stderr == "no changes\n"
    assert json.loads(cli("diff", "web", "--json").stdout)["changed"] is False


def test_a_person_sees_every_character_of_a_diff_and_a_pipe_gets_its_bytes(cli: Cli, agent: Write) -> None:
    agent("printf 'a\\342\\200\\256b\\342\\200\\213c\\343\\205\\244\\033[2J\\tgr\\303\\274n\\n' >new; exit 0")
    assert cli("run", "web", "--backend", "fake").returncode == 0

    assert "+a\u202eb\u200bc\u3164\x1b[2J\tgrün\n" in cli("diff", "web").stdout
    with at_terminal([*COMMAND, "diff", "web"]) as person:
        person.wait_for("+a\\u202eb\\u200bc\\u3164\\x1b[2J\tgrün".encode())
