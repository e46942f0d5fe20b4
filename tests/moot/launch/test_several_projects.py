"""Several projects in one repository: each team has its own worktrees, branches and agents, with the same roles."""

from __future__ import annotations

from moot.agents.processes import agent_processes
from moot.config import load_actors, save_actors
from tests.moot.launch.conftest import Make
from tests.moot.launch.project import Project, started

IN_A_FOLDER = "RUN=$(git rev-parse --git-common-dir)/../${PWD##*/}/.moot/run/$CONVO_ROLE; report idle; exec sleep 1000"


def folder_of(whole: Project, name: str) -> Project:
    """Make a project in a folder of a repository that has one."""
    folder = whole.folder / name
    folder.mkdir()
    (folder / "moot.toml").write_text((whole.folder / "moot.toml").read_text())
    whole.git("add", name)
    whole.git("commit", "--quiet", f"--message={name}")
    keys = load_actors(whole.folder)
    assert keys is not None
    save_actors(keys, folder)
    return Project(folder, whole.programs)


def alive(project: Project) -> dict[str, bool]:
    return {role: one.alive for role, one in project.runtime.agents().items()}


def test_a_team_leaves_the_agents_of_other_projects_in_its_repository_alone(make: Make) -> None:
    whole = make(roles=("qa",))
    first, second = folder_of(whole, "a"), folder_of(whole, "b")
    started(whole.team.up())
    whole.agent_is(IN_A_FOLDER)
    try:
        started(first.team.up())
        started(second.team.up())
        assert [alive(one) for one in (whole, first, second)] == [{"qa": True}] * 3
        trees = [one.runtime.place("qa").tree for one in (whole, first, second)]
        assert trees == [f"{whole.folder}/.worktrees/{name}" for name in ("qa", "a/qa", "b/qa")]
        branches = {one.branch for one in whole.worktrees.listed()}
        assert branches == {"main", "a/qa/work", "b/qa/work", "qa/work"}

        kept = second.team.down().kept
        assert [(one.where, one.branch) for one in kept] == [(trees[2], "b/qa/work")]
        assert [alive(one) for one in (whole, first, second)] == [{"qa": True}, {"qa": True}, {}]
        assert {one.path for one in whole.worktrees.listed() if one.lock is not None} == {trees[0], trees[1]}
    finally:
        for one in (first, second):
            one.team.down()
    assert not agent_processes(trees[1]) and not agent_processes(trees[2])
