"""A project with a team whose agents are shell scripts, in real tmux sessions and real worktrees."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moot.agents.processes import agent_processes
from moot.agents.tmux import socket_name
from moot.agents.worktrees import Worktrees
from moot.config import ActorKey, Actors, read_config, save_actors
from moot.runtimes.local import LocalRuntime
from moot.team import Team, TeamReport

NOBODY_LISTENS = "http://127.0.0.1:9"  # the discard port: a connection to it is refused
REPORT = """
report() {  # as the hooks of a harness do
    printf '{"word": "%s", "session_id": "s", "time": 1700000000}' "$1" >"$RUN/.new" && mv "$RUN/.new" "$RUN/state"
}
RUN=$(dirname "$(dirname "$CONVO_WORKTREE")")/.moot/run/$CONVO_ROLE
"""
SOCKETS = Path(f"/tmp/tmux-{os.geteuid()}")
READY = "report idle; exec sleep 1000"
KEY = "convo_key_of_"


@dataclass
class Project:
    """A repository with `moot.toml`, and programs in its own `PATH`."""

    folder: Path
    programs: Path

    @property
    def team(self) -> Team:
        config = read_config(self.folder / "moot.toml")
        return Team(config, self.runtime)

    @property
    def runtime(self) -> LocalRuntime:
        return LocalRuntime(self.folder)

    @property
    def worktrees(self) -> Worktrees:
        return Worktrees(str(self.folder))

    def agent_is(self, script: str, program: str = "claude") -> None:
        """Make `program` this shell script; `report WORD` in it writes the state, as hooks do."""
        path = self.programs / program
        path.write_text(f"#!/bin/sh\n{REPORT}\n{script}\n")
        path.chmod(0o755)

    def git(self, *words: str, cwd: Path | None = None) -> str:
        argv = ["git", "-C", str(cwd or self.folder), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout

    def tree(self, role: str) -> Path:
        return self.folder / ".worktrees" / role

    def run_folder(self, role: str) -> Path:
        return self.folder / ".moot/run" / role

    def left(self) -> dict[str, object]:
        """Return what a launch can leave: sessions, processes, locks of worktrees, start files with variables."""
        found = {
            "sessions": [one.session for one in self.runtime.tmux.panes()],
            "processes": [one for tree in self.folder.glob(".worktrees/*") for one in agent_processes(str(tree))],
            "locks": [one.path for one in self.worktrees.listed() if one.lock is not None],
            "sockets": [
                one for one in SOCKETS.glob(f"{socket_name(str(self.folder))}*") if not self.runtime.tmux.panes()
            ],
            "start files": sorted(self.folder.glob(".moot/run/*/*.start")),
        }
        return {what: one for what, one in found.items() if one}


def outcomes(report: TeamReport) -> dict[str, str]:
    """Return what became of each role."""
    return {one.role: one.outcome for one in report.roles}


def started(report: TeamReport) -> None:
    """Check that every role was started."""
    others = [one for one in report.roles if one.outcome != "started"]
    assert not others, others


def moot_toml(roles: Mapping[str, Mapping[str, object]], **harness: object) -> str:
    """Return the text of a `moot.toml` with these roles."""
    lines = ["[convo]", f'api_url = "{NOBODY_LISTENS}"', 'space_id = "spc_1"']
    for role, table in roles.items():
        lines += [f"[agents.{role}]", *(f"{name} = {_toml(value)}" for name, value in table.items())]
    lines += [
        "[harness]",
        *(f"{name} = {json.dumps(v)}" for name, v in {"launch_stagger_seconds": 0, **harness}.items()),
    ]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)


def make_project(folder: Path, roles: Mapping[str, Mapping[str, object]], **harness: object) -> Project:
    """Make a repository with one commit, its `moot.toml` and keys for all roles."""
    folder.mkdir(parents=True)
    project = Project(folder, folder.parent / f"{folder.name}-programs")
    project.programs.mkdir()
    (folder / "moot.toml").write_text(moot_toml(roles, **harness))
    (folder / ".gitignore").write_text(".moot/\n.worktrees/\n")
    project.git("init", "--quiet", "--initial-branch=main")
    project.git("config", "user.name", "Tester")
    project.git("config", "user.email", "tester@example.com")
    project.git("add", ".")
    project.git("commit", "--quiet", "--message=first")
    keys = {role: ActorKey(f"agt_{number}", f"{KEY}{role}", role) for number, role in enumerate(roles)}
    save_actors(Actors("spc_1", "Space", NOBODY_LISTENS, keys), folder)
    os.environ["PATH"] = f"{project.programs}:{os.environ['PATH']}"
    return project
