"""Worktrees of roles: made once, locked while an agent works there, found again after kill -9."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from moot.agents.worktrees import LOCK_REASON, Worktrees
from moot.config import main_worktree, project_folder
from moot.runtimes.local import LocalRuntime
from pyro_mcp.errors import Conflict, HostNotReady, NotFound
from tests.moot.launch.conftest import Make
from tests.moot.launch.project import Project
from tests.waiting import until


def test_a_worktree_is_made_on_its_own_branch_and_kept(project: Project) -> None:
    trees = project.worktrees
    path = Path(trees.make("qa"))
    (path / "work").write_text("mine")

    assert trees.make("qa") == str(path) == str(project.tree("qa"))
    assert (path / "work").read_text() == "mine"
    found = trees.find("qa")
    assert found is not None and (found.branch, found.lock) == ("qa/work", LOCK_REASON)
    assert trees.unlock("qa") and not trees.unlock("qa")


def test_an_existing_branch_is_used(project: Project) -> None:
    project.git("branch", "qa/work")
    assert Path(project.worktrees.make("qa"), "moot.toml").exists()


def test_the_main_worktree_is_found_from_a_role(project: Project) -> None:
    project.worktrees.make("qa")
    assert main_worktree(project.tree("qa")) == project.folder
    with pytest.raises(NotFound, match="not in a git repository"):
        main_worktree(project.folder.parent)


def test_the_worktrees_of_a_submodule_are_in_it(project: Project, tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer/inner"
    subprocess.run(["git", "init", "-q", outer], check=True, timeout=60)
    words = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(project.folder), "inner"]
    subprocess.run(["git", "-C", outer, *words], check=True, timeout=60)

    tree = Path(LocalRuntime(inner).worktrees.make("qa"))
    assert tree == inner / ".worktrees/qa"
    assert main_worktree(tree) == project_folder(tree) == inner


def test_a_lock_of_the_user_stays(project: Project) -> None:
    project.worktrees.make("qa")
    project.worktrees.unlock("qa")
    project.git("worktree", "lock", "--reason", "mine", str(project.tree("qa")))
    project.worktrees.make("qa")
    assert not project.worktrees.unlock("qa")
    project.git("worktree", "unlock", str(project.tree("qa")))


def test_a_worktree_that_was_removed_by_hand_is_made_again(project: Project) -> None:
    project.worktrees.make("qa")
    shutil.rmtree(project.tree("qa"))
    project.worktrees.make("qa")
    assert (project.tree("qa") / "moot.toml").exists()
    project.worktrees.unlock("qa")


def test_a_repository_that_was_moved_keeps_its_worktrees_and_a_copy_does_not_take_them(
    project: Project, tmp_path: Path
) -> None:
    project.worktrees.make("qa")
    (project.tree("qa") / "new").write_text("work")
    copy = Project(tmp_path / "copy", tmp_path)
    shutil.copytree(project.folder, copy.folder)
    with pytest.raises(Conflict, match="worktree of qa"):
        copy.worktrees.make("qa")
    assert project.worktrees.find("qa") is not None

    shutil.rmtree(copy.folder)
    project.folder.rename(copy.folder)
    assert copy.worktrees.make("qa") == str(copy.tree("qa"))
    assert copy.git("status", "--short", cwd=copy.tree("qa")) == "?? new\n"
    copy.worktrees.unlock("qa")
    copy.folder.rename(project.folder)
    project.worktrees.make("qa")
    project.worktrees.unlock("qa")


def test_something_else_in_its_place_is_left_alone(project: Project) -> None:
    project.tree("qa").mkdir(parents=True)
    (project.tree("qa") / "theirs").write_text("x")
    with pytest.raises(Conflict, match="worktree of qa") as error:
        project.worktrees.make("qa")
    assert str(project.tree("qa")) in error.value.hint and (project.tree("qa") / "theirs").exists()


def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True, timeout=30)
    with pytest.raises(HostNotReady, match="no commit"):
        Worktrees(str(tmp_path)).make("qa")


def test_a_killed_add_is_made_anew(make: Make) -> None:
    project = make()
    # A hook of the repository stops `git worktree add` where its files are half there.
    hook = project.folder / ".git/hooks/post-checkout"
    hook.write_text("#!/bin/sh\ntouch stopped\nexec sleep 1000\n")
    hook.chmod(0o755)
    argv = ["git", "-C", str(project.folder), "worktree", "add", "-q", "-b", "qa/work", str(project.tree("qa"))]
    child = subprocess.Popen(argv, start_new_session=True)
    until("the hook runs", (project.tree("qa") / "stopped").exists)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait(30)
    hook.unlink()

    project.worktrees.make("qa")

    assert project.git("status", "--porcelain", "--untracked-files=no", cwd=project.tree("qa")) == ""
    assert project.git("branch", "--show-current", cwd=project.tree("qa")) == "qa/work\n"
    project.worktrees.unlock("qa")


def test_lock_files_of_a_killed_git_are_removed_but_not_those_of_a_running_one(project: Project) -> None:
    project.worktrees.make("qa")
    git_folder = Path(project.git("rev-parse", "--absolute-git-dir", cwd=project.tree("qa")).strip())
    lock = git_folder / "index.lock"
    lock.touch()
    with subprocess.Popen(["sleep", "1000"], cwd=project.tree("qa")) as child:
        project.worktrees.make("qa")
        assert lock.exists()
        child.kill()
    project.worktrees.make("qa")
    assert not lock.exists()
    project.worktrees.unlock("qa")
