"""init, check and schema, as a user has them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from claude_bottle.cli.init import STARTER
from claude_bottle.cli.program import command_parser
from claude_bottle.manifest import load
from pyro_mcp.command_line import own_actions, verbs
from tests.bottles.manifest.conftest import ClaudeBottle


def test_init_writes_a_manifest_that_check_accepts(claude_bottle: ClaudeBottle, project: Path) -> None:
    below = project / "src"
    below.mkdir()
    assert claude_bottle("init", folder=below).returncode == 0

    told = claude_bottle("check")
    assert (told.returncode, told.stderr) == (0, "")
    assert "correct: 1 bottle and 1 agent" in told.stdout
    assert load(project).manifest.bottle_of("claude").egress == ()


def test_all_that_the_starter_has_as_a_comment_is_correct(project: Path) -> None:
    # "# A sentence." is prose, "#key = 1" is a setting, also where it goes on over several lines.
    (project / "bottles.toml").write_text(re.sub(r"^#(?! \S)", "", STARTER, flags=re.MULTILINE))

    manifest = load(project).manifest
    assert manifest.bottles["dev"].secrets["GITHUB_TOKEN"].env == "GITHUB_TOKEN"
    assert len(manifest.bottles["dev"].egress) == 4
    assert manifest.agent("claude").model == "sonnet"


@pytest.mark.parametrize("name", ["bottles.toml", "bottles.json"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_init_never_overwrites(claude_bottle: ClaudeBottle, project: Path, name: str, kind: str) -> None:
    path = project / name
    if kind == "file":
        path.write_text("{}")
    else:
        path.symlink_to(project / "elsewhere")

    told = claude_bottle("init")

    assert told.returncode == 4 and "exists already" in told.stderr
    assert path.read_text() == "{}" if kind == "file" else not (project / "elsewhere").exists()


def test_init_writes_the_users_own_manifest(claude_bottle: ClaudeBottle, project: Path, own: Path) -> None:
    told = claude_bottle("init", "--user", "--json")

    assert json.loads(told.stdout) == {"path": str(own / "bottles.toml")}
    assert not (project / "bottles.toml").exists()


def test_check_says_which_file_gives_each_key(claude_bottle: ClaudeBottle, project: Path, own: Path) -> None:
    (own / "bottles.json").write_text('{"bottles": {"dev": {"egress": ["a.example"], "env": {"A": "1"}}}}')
    (project / "bottles.toml").write_text('[bottles.dev.env]\nB = "2"\n[agents.demo]\nbottle = "dev"\n')

    lines = claude_bottle("check").stdout.splitlines()
    rows = [line.split(maxsplit=2) for line in lines]
    assert ["bottles.dev.egress", "user", '["a.example"]'] in rows
    assert ["bottles.dev.env.A", "user", '"1"'] in rows
    assert ["bottles.dev.env.B", "project", '"2"'] in rows
    assert f"user: {own / 'bottles.json'}" in lines

    told = json.loads(claude_bottle("check", "--json").stdout)
    assert told["origins"]["bottles.dev.env.B"] == str(project / "bottles.toml")
    assert told["manifest"]["bottles"]["dev"]["env"] == {"A": "1", "B": "2"}


def test_check_names_each_problem_with_its_file(claude_bottle: ClaudeBottle, project: Path) -> None:
    path = project / "bottles.json"
    path.write_text('{"bottles": {"dev": {"egres": []}}, "agents": {"demo": {"bottle": "dev", "harness": "cluade"}}}')

    told = claude_bottle("check")
    assert (told.returncode, told.stdout) == (2, "")
    assert f"{path}: bottles.dev.egres: there is no such key; did you mean 'egress'?" in told.stderr
    assert f"{path}: agents.demo.harness: there is no harness 'cluade'; did you mean 'claude'?" in told.stderr

    error = json.loads(claude_bottle("check", "--json").stdout)["error"]
    assert error["code"] == "manifest_error"
    assert [one["path"] for one in error["problems"]] == ["bottles.dev.egres", "agents.demo.harness"]


def test_check_without_a_manifest_says_how_to_write_one(claude_bottle: ClaudeBottle) -> None:
    told = claude_bottle("check")

    assert (told.returncode, told.stdout) == (3, "")
    assert "'claude-bottle init' writes one" in told.stderr


def test_check_reads_the_manifest_that_is_named_alone(claude_bottle: ClaudeBottle, project: Path, own: Path) -> None:
    (own / "bottles.json").write_text("wrong")
    (project / "other.json").write_text('{"bottles": {"dev": {}}}')

    told = claude_bottle("check", "--manifest", "other.json")
    assert told.returncode == 0 and "correct: 1 bottle and 0 agents" in told.stdout

    missing = claude_bottle("check", "--manifest", "none.json")
    assert missing.returncode == 2 and "none.json: No such file" in missing.stderr


def test_nothing_of_a_manifest_reaches_the_terminal_as_more_than_text(
    claude_bottle: ClaudeBottle, project: Path
) -> None:
    (project / "bottles.json").write_text(json.dumps({"bottles": {"a\x1b[2J\u202eb": {}}, "x\x07": 1}))
    wrong = claude_bottle("check").stderr
    prompt = {"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev", "prompt": "a\x1b[2J\u202e\n"}}}
    (project / "bottles.json").write_text(json.dumps(prompt))
    right = claude_bottle("check").stdout

    assert all(line.isprintable() for line in [*wrong.splitlines(), *right.splitlines()])
    assert "agents.demo.prompt" in right


def test_schema_prints_the_schema_that_is_shipped(claude_bottle: ClaudeBottle) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(claude_bottle("schema").stdout))


def test_every_help_fits_80_columns_and_explains_each_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = list(verbs(command_parser()))

    texts = [command_parser().format_help(), *(one.format_help() for one in found)]
    assert [line for text in texts for line in text.splitlines() if len(line) > 80] == []
    assert [f"{one.prog} {action.dest}" for one in found for action in own_actions(one) if not action.help] == []


def test_a_mistyped_verb_brings_its_near_match(claude_bottle: ClaudeBottle) -> None:
    told = claude_bottle("chekc")

    assert told.returncode == 2 and "did you mean 'check'?" in told.stderr
