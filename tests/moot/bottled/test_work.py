"""The work of an agent in a bottle comes back as commits on its branch, and is never lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle import Bottles, LoadedManifest, Manifest
from moot.agents.worktrees import Worktrees
from moot.bottled.work import RoleWork, kept_work
from pyro_mcp.errors import Conflict, NotFound


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one file, where bottles are processes of this host."""
    monkeypatch.setenv("CLAUDE_BOTTLE_FAKE", "1")
    folder = home / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.com")
    (folder / "text").write_text("one\ntwo\nthree\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "Begin")
    return folder


@pytest.fixture
def work(project: Path) -> RoleWork:
    """The work of the role `qa`, which has its worktree and its run folder."""
    worktrees = Worktrees(str(project))
    worktrees.make("qa")
    (project / ".moot/run/qa").mkdir(parents=True, mode=0o700)
    return RoleWork(project, "qa", worktrees)


def loaded(script: str) -> LoadedManifest:
    agent = {"bottle": "b", "harness": ["sh", "-c", f"{script}; touch ../done; sleep 600"]}
    return LoadedManifest(
        manifest=Manifest.from_json_obj({"bottles": {"b": {}}, "agents": {"qa": agent}}),
        levels={},
        digests={},
        settings=(),
    )


@pytest.fixture
def started(work: RoleWork) -> Iterator[Bottles]:
    """Starts a bottle whose agent runs a script in a clone of its branch."""
    bottles = Bottles(folder=work.begin(), manifest=loaded("true"))
    bottles.run("qa", backend="fake", copy_cwd=True)
    yield bottles
    bottles.stop_all()


def do(bottles: Bottles, work: RoleWork, script: str) -> None:
    """Let the agent of the bottle run a script."""
    from claude_bottle.backend.table import backend_named  # noqa: PLC0415

    (slug,) = work.slugs(bottles)
    done = backend_named("fake").find(slug).execute(["sh", "-c", script])
    assert done.exit_code == 0, done.stderr


def branch(work: RoleWork, path: str = "text") -> str:
    return git(work.tree.parents[3], "show", f"qa/work:{path}")


def test_what_an_agent_changes_becomes_a_commit_of_its_branch_and_of_its_worktree(
    work: RoleWork, started: Bottles, project: Path
) -> None:
    do(started, work, "sed -i s/two/2/ text; echo new > new; printf '\\000\\377' > binary")
    assert "+2" in work.changes(started).patch
    assert git(project, "rev-parse", "qa/work") == git(project, "rev-parse", "main"), "nobody has asked for it yet"

    handed = work.hand_back(started)
    assert handed.commit == git(project, "rev-parse", "qa/work").strip()
    assert branch(work) == "one\n2\nthree\n" and branch(work, "new") == "new\n"
    assert (project / ".worktrees/qa/binary").read_bytes() == b"\x00\xff"
    assert (project / ".worktrees/qa/text").read_text() == "one\n2\nthree\n"
    assert git(project, "log", "-1", "--format=%an", "qa/work") == "qa\n"
    assert work.hand_back(started).commit == "", "nothing is new"

    do(started, work, "sed -i s/two/2/ text; sed -i s/three/3/ text; rm new binary")
    assert work.hand_back(started).commit
    assert branch(work) == "one\n2\n3\n"
    assert git(project, "ls-tree", "--name-only", "qa/work") == "text\n"


def test_work_that_is_handed_back_is_merged_with_what_the_branch_got_meanwhile(
    work: RoleWork, started: Bottles, project: Path
) -> None:
    worktree = project / ".worktrees/qa"
    (worktree / "other").write_text("other\n")
    git(worktree, "add", ".")
    git(worktree, "commit", "--quiet", "-m", "Add other")
    do(started, work, "sed -i s/two/2/ text")
    work.hand_back(started)
    assert branch(work) == "one\n2\nthree\n" and branch(work, "other") == "other\n"

    (worktree / "text").write_text("one\n2\nTHREE\n")
    git(worktree, "commit", "--quiet", "-am", "Shout")
    do(started, work, "sed -i s/three/3/ text")
    with pytest.raises(Conflict, match="do not merge into qa/work") as raised:
        work.hand_back(started)
    commit = raised.value.hint.split("git merge ")[1].split("'")[0]
    assert git(project, "show", f"{commit}:text") == "one\n2\n3\n"
    assert git(worktree, "status", "--porcelain") == "" and branch(work) == "one\n2\nTHREE\n"


def test_a_bottle_that_ends_leaves_a_copy_of_what_nobody_has_fetched(
    work: RoleWork, started: Bottles, project: Path
) -> None:
    do(started, work, "sed -i s/two/2/ text; printf '\\000\\001' > binary")
    assert work.end(started) is True
    (copy,) = map(Path, kept_work(project))
    assert (copy / "text").read_text() == "one\n2\nthree\n" and (copy / "binary").read_bytes() == b"\x00\x01"
    assert started.list()["count"] == 0 and not work.tree.exists()
    assert work.end(started) is False


def test_a_bottle_that_ends_leaves_a_copy_of_commits_on_another_branch(
    work: RoleWork, started: Bottles, project: Path
) -> None:
    do(started, work, _COMMIT.format(branch="other") + "; git checkout --quiet qa/work")
    assert work.changes(started).patch == ""
    work.end(started)
    assert len(kept_work(project)) == 1


_COMMIT = "git checkout --quiet -B {branch}; sed -i s/two/2/ text; git -c user.name=a -c user.email=a@a commit -qam two"


@pytest.mark.parametrize("script", ["true", "sed -i s/two/2/ text", _COMMIT.format(branch="qa/work")])
def test_a_bottle_whose_work_was_fetched_leaves_nothing(
    work: RoleWork, started: Bottles, project: Path, script: str
) -> None:
    do(started, work, script)
    work.hand_back(started)
    assert work.end(started) is True
    assert kept_work(project) == []


def test_nothing_that_an_agent_writes_runs_when_its_work_comes_back(
    work: RoleWork, started: Bottles, project: Path
) -> None:
    marker = project / "ran"
    for name in ("pre-commit", "post-merge", "post-checkout", "prepare-commit-msg"):
        hook = project / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\nexec sh ./hook.sh {marker}\n")
        hook.chmod(0o755)
    do(started, work, "echo 'touch $1' > hook.sh; echo '* filter=evil' > .gitattributes")
    do(started, work, "git config filter.evil.smudge 'touch ../ran'; git config core.fsmonitor 'touch ../ran'")
    assert work.hand_back(started).commit
    assert not marker.exists() and list(project.glob("**/ran")) == []
    assert (project / ".worktrees/qa/hook.sh").exists()


def test_a_role_without_a_bottle_has_nothing_to_fetch(work: RoleWork, home: Path) -> None:
    assert home.is_dir()
    with pytest.raises(NotFound, match="qa has no bottle"):
        work.changes(Bottles(folder=home, manifest=loaded("true")))
