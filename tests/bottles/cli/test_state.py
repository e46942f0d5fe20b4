"""Records of bottles: what a client leaves, also when it is killed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle import state
from claude_bottle.state import LAUNCHED, Record
from pyro_mcp.errors import Busy, HostNotReady, InvalidRequest, NotFound
from tests.bottles.cli.conftest import Cli, Write, launched
from tests.leftovers import processes_naming

pytestmark = pytest.mark.usefixtures("home")


def record(slug: str) -> Record:
    return Record(
        slug=slug,
        agent="web",
        bottle="small",
        backend="fake",
        folder="/srv",
        copied=False,
        harness="claude",
        created_at=1.0,
    )


@pytest.mark.parametrize(
    ("agent", "begin"), [("web", "web-"), ("Web Größe/../x", "web-gr-e-x-"), ("../..", "agent-"), ("a" * 99, "a" * 33)]
)
def test_a_slug_is_safe_in_every_name(home: Path, agent: str, begin: str) -> None:
    slug = state.new_slug(agent)

    assert slug.startswith(begin) and len(slug) <= 40
    assert state.bottle_dir(slug).parent == home / "state/claude-bottle/bottles"


@pytest.mark.parametrize("word", ["..", "../x", "", "a/b", "-x", "x" * 41, "X"])
def test_a_word_that_is_no_slug_names_no_folder(word: str) -> None:
    with pytest.raises(NotFound):
        state.bottle_dir(word)


def test_everything_of_a_bottle_is_private() -> None:
    with state.launching(record("web-1")):
        state.write_prompt(state.prompt_file(state.stage_dir("web-1")), "grüße 🍾\n")
        folders = [state.bottle_dir("web-1"), state.stage_dir("web-1"), state.bottles_home()]

        assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 3
        assert state.prompt_file(state.stage_dir("web-1")).stat().st_mode & 0o777 == 0o600
        assert state.prompt_file(state.stage_dir("web-1")).read_text() == "grüße 🍾\n"


def test_half_a_surrogate_pair_is_no_prompt(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        state.write_prompt(tmp_path / "prompt", "\ud800")
    assert not (tmp_path / "prompt").exists()


def test_a_bottle_belongs_to_its_launching_client() -> None:
    with state.launching(record("web-1")):
        assert state.abandoned() == []
        with pytest.raises(Busy, match="web-1"), state.removing("web-1"):
            pass
    assert state.abandoned() == ["web-1"]


def test_a_launched_bottle_stays_without_a_client() -> None:
    with state.launching(record("web-1")):
        state.launched(record("web-1"))

    assert state.abandoned() == []
    assert state.read("web-1").phase == LAUNCHED


def test_an_error_while_a_bottle_is_removed_keeps_its_record() -> None:
    with state.launching(record("web-1")):
        state.launched(record("web-1"))
    with pytest.raises(RuntimeError), state.removing("web-1"):
        raise RuntimeError

    assert state.abandoned() == ["web-1"]
    with state.removing("web-1") as found:
        assert found is not None and found.agent == "web"
    assert state.slugs() == [] and not state.bottle_dir("web-1").exists()


def test_what_a_killed_client_was_launching_is_found() -> None:
    program = (
        "from claude_bottle import state\n"
        "from tests.bottles.cli.test_state import record\n"
        "with state.launching(record('web-1')):\n"
        "    print('ready', flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None and client.stdout.readline() == "ready\n"
        assert state.abandoned() == []
        os.kill(client.pid, signal.SIGKILL)
        client.wait(30)

    assert state.abandoned() == ["web-1"]


def damaged(**changes: object) -> str:
    """Return the record of `web-1` with these keys changed; without those that are None."""
    found = {**dataclasses.asdict(record("web-1")), "phase": LAUNCHED, **changes}
    return json.dumps({key: value for key, value in found.items() if value is not None})


@pytest.mark.parametrize("content", ["", "[]", "\0" * 64, '{"phase": "lau', damaged(phase=None), damaged(agent=None)])
def test_a_bottle_with_a_damaged_record_stays_until_it_is_removed_by_name(content: str) -> None:
    with state.launching(record("web-1")):
        state.launched(record("web-1"))
    (state.bottle_dir("web-1") / "record.json").write_text(content)

    assert state.abandoned() == []
    with pytest.raises(HostNotReady, match="is damaged"):
        state.read("web-1")
    with state.removing("web-1") as found:
        assert found is None
    assert state.slugs() == []


@pytest.mark.parametrize("phase", [LAUNCHED, "paused"])
def test_a_record_of_another_version_is_read_and_its_bottle_stays(phase: str) -> None:
    with state.launching(record("web-1")):
        state.launched(record("web-1"))
    (state.bottle_dir("web-1") / "record.json").write_text(damaged(phase=phase, colour="red"))

    assert state.read("web-1") == dataclasses.replace(record("web-1"), phase=phase)
    assert state.abandoned() == []


def test_a_bottle_that_is_kept_can_be_removed_while_its_client_runs() -> None:
    with state.launching(record("web-1")) as owned:
        state.launched(record("web-1"))
        owned.close()
        assert state.abandoned() == []
        with state.removing("web-1") as found:
            assert found is not None


def test_list_shows_a_damaged_record_and_stop_removes_its_agent(cli: Cli, agent: Write) -> None:
    agent("sleep 600")
    broken, sound = launched(cli), launched(cli)
    (state.bottle_dir(broken) / "record.json").write_text("")

    listed = {one["slug"]: one for one in json.loads(cli("list", "--json").stdout)["bottles"]}
    assert {slug: one["state"] for slug, one in listed.items()} == {broken: "unknown", sound: "running"}
    assert f"claude-bottle stop {broken}" in listed[broken]["problems"][0]
    assert broken in cli("list").stdout
    told = cli("stop", broken)
    assert told.stderr == ""
    assert told.stdout == f"{broken} is removed\n"
    assert state.slugs() == [sound]
    assert processes_naming(state.stage_dir(broken)) == []


def test_a_bottle_of_an_unknown_backend_can_be_removed(cli: Cli, agent: Write) -> None:
    agent("sleep 600")
    slug = launched(cli)
    path = state.bottle_dir(slug) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "backend": "next"}))

    told = cli("stop", "--all")

    assert told.returncode == 0 and "there is no backend 'next'" in " ".join(told.stderr.split())
    assert state.slugs() == [] and processes_naming(state.stage_dir(slug)) == []


def test_an_unknown_bottle_brings_its_near_match() -> None:
    with state.launching(record("web-12ab")), pytest.raises(NotFound) as raised:
        state.read("web-12ac")

    assert "did you mean 'web-12ab'?" in raised.value.hint
