"""A team whose agents are in bottles: processes of this host stand in for bottles, all else is real."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from claude_bottle import BottleInfo, Bottles, state
from moot.agents.processes import agent_processes
from moot.bottled.window import BACKEND_VARIABLE
from moot.bottled.work import kept_work
from moot.config import read_config
from moot.runtimes import Kept
from moot.runtimes.bottle import BottleRuntime
from moot.team import Team
from tests.moot.launch.project import Project, make_project, moot_toml
from tests.waiting import until

ROLE = "qa"
READY = 'printf \'{"word": "idle", "session_id": "s", "time": 1}\' >"$STATE"; exec sleep 1000'


class Bottled:
    """A project of which each agent is a shell script in a bottle."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.runtime = BottleRuntime(project.folder)
        self.team = Team(read_config(project.folder / "moot.toml"), self.runtime)
        self.bottles = Bottles(folder=project.folder)

    def left(self) -> dict[str, object]:
        """Return what is left of the team: of a local one, and bottles, their doors and their clones."""
        found = {
            "bottles": self.bottles.list()["bottles"],
            "doors": self.doors(),
            "clones": list(self.project.folder.glob(".moot/run/*/tree")),
        }
        return {**self.project.left(), **{what: one for what, one in found.items() if one}}

    def doors(self) -> list[int]:
        """Return the processes that are doors of this project."""
        found = []
        for one in agent_processes(str(self.project.tree(ROLE))):
            with suppress(OSError):  # it has ended meanwhile
                if b"moot.bottled.door" in Path(f"/proc/{one.pid}/cmdline").read_bytes():
                    found.append(one.pid)
        return found

    def up(self) -> BottleInfo:
        """Start the team; return the bottle as soon as it can outlive the program that launched it."""
        assert self.outcomes(self.team.up()) == {ROLE: "started"}
        (bottle,) = until("it is there", lambda: self.bottles.list()["bottles"])
        until("it is launched", lambda: state.read(bottle["slug"]).phase, state.LAUNCHED.__eq__)
        return bottle

    def outcomes(self, report: object) -> dict[str, str]:
        return {one.role: one.outcome for one in report.roles}  # type: ignore[attr-defined]


@pytest.fixture
def bottled(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bottled]:
    monkeypatch.setenv("CLAUDE_BOTTLE_FAKE", "1")
    monkeypatch.setenv(BACKEND_VARIABLE, "fake")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-user")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    project = make_project(home / "project", {ROLE: {}}, runtime="bottle", permission_mode="bypassPermissions")
    project.agent_is(READY)
    manifest = home / ".config/claude-bottle/bottles.json"
    manifest.parent.mkdir(parents=True)
    variables = {"STATE": str(project.run_folder(ROLE) / "state"), "PATH": f"{project.programs}:/usr/bin:/bin"}
    manifest.write_text(json.dumps({"bottles": {"team": {"env": variables}}}))
    found = Bottled(project)
    yield found
    found.team.down()
    assert found.left() == {}


def test_up_and_down_again_and_again_leave_nothing(bottled: Bottled) -> None:
    for _ in range(2):
        bottle = bottled.up()
        assert (bottle["agent"], bottle["backend"], bottle["copied"]) == (ROLE, "fake", True)
        assert len(bottled.doors()) == 1
        assert bottled.outcomes(bottled.team.up()) == {ROLE: "already_running"}
        assert bottled.outcomes(bottled.team.down()) == {ROLE: "stopped"}
        assert bottled.left() == {}
    assert kept_work(bottled.project.folder) == []


def test_the_manifest_of_a_project_must_be_approved_before_anything_starts(bottled: Bottled) -> None:
    (bottled.project.folder / "bottles.toml").write_text('[bottles.qa]\negress = ["evil.example"]\n')
    (report,) = bottled.team.up().roles
    assert report.outcome == "failed" and "claude-bottle trust" in f"{report.message} {report.hint}"
    assert bottled.bottles.list()["count"] == 0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"harness": "codex"}, "the runtime bottle does not run codex"),
        ({"env": {"TOKEN": "${secret:token}"}}, "agents.qa.env.TOKEN has a secret"),
    ],
)
def test_what_no_bottle_may_have_is_refused_before_anything_starts(
    bottled: Bottled, home: Path, monkeypatch: pytest.MonkeyPatch, table: dict[str, object], said: str
) -> None:
    secrets = home / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "token").write_text("value")
    monkeypatch.setenv("MOOT_SECRETS_DIR", str(secrets))
    (bottled.project.folder / "moot.toml").write_text(moot_toml({ROLE: table}, runtime="bottle"))
    team = Team(read_config(bottled.project.folder / "moot.toml"), bottled.runtime)
    (report,) = team.up().roles
    assert report.outcome == "failed" and said in report.message
    assert bottled.bottles.list()["count"] == 0


def test_down_says_where_work_is_that_nobody_has_fetched(bottled: Bottled) -> None:
    bottled.project.agent_is(f"env >work.txt; {READY}")
    bottled.up()
    patch = bottled.team.diff(ROLE).patch
    assert "CONVO_ROLE=qa" in patch and "convo_key_of_" not in patch, "the key of the space is not in the bottle"
    kept = bottled.team.down().kept
    (copy,) = kept_work(bottled.project.folder)
    assert Kept("changes", copy) in kept and "CONVO_ROLE=qa" in (Path(copy) / "work.txt").read_text()


def test_work_that_was_applied_is_in_the_branch_and_not_kept_twice(bottled: Bottled) -> None:
    bottled.project.agent_is(f"echo done >work.txt; {READY}")
    bottled.up()
    assert bottled.team.diff(ROLE, apply=True).commit
    assert bottled.project.git("show", f"{ROLE}/work:work.txt") == "done\n"
    bottled.team.down()
    assert kept_work(bottled.project.folder) == []


def pane_of(bottled: Bottled) -> int:
    return next(one.pid for one in bottled.runtime.tmux.panes() if one.window == 0)


def test_a_killed_program_in_the_session_leaves_a_bottle_that_the_next_up_replaces(bottled: Bottled) -> None:
    first = bottled.up()
    os.kill(pane_of(bottled), signal.SIGKILL)
    until("it has ended", lambda: bottled.runtime.agents()[ROLE].alive, lambda alive: not alive)
    until("its door too", bottled.doors, lambda found: found == [])
    assert bottled.up()["slug"] != first["slug"]
    assert bottled.bottles.list()["count"] == 1


def test_a_killed_tmux_server_leaves_a_bottle_that_down_stops(bottled: Bottled) -> None:
    bottled.up()
    os.kill(int(bottled.runtime.tmux.ask("display-message", "-p", "#{pid}")), signal.SIGKILL)
    until("the server has ended", bottled.runtime.tmux.panes, lambda panes: panes == [])
    assert bottled.bottles.list()["count"] == 1
    bottled.team.down()
    assert bottled.left() == {}
