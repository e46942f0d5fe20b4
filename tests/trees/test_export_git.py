"""Repositories in a copy: whoever uses them on the host runs nothing that the guest has put there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp.errors import InvalidRequest
from tests.trees.exporting import export
from tests.trees.host_tree import DEADLINE, HostTree

USE = (
    ["status"], ["diff"], ["log", "-p", "--show-signature"], ["checkout", "--", "."], ["checkout", "-q", "-b", "other"],
    ["add", "-A"], ["commit", "--allow-empty", "-q", "-m", "x"], ["stash"], ["branch", "-a"], ["fetch"], ["gc"],
)  # fmt: skip


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "copy"


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that exists once something of the guest's has run."""
    return tmp_path / "canary"


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """A user's git, without any settings of this machine."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "" if check else "true",
        **{f"GIT_{who}_{what}": "me@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    environment = {name: value for name, value in environment.items() if value}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",  # it shows the content of files
        check=False,
        timeout=DEADLINE,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def repository(folder: Path) -> Path:
    """A repository with one commit and one changed file."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "file").write_text("one\n")
    git(folder, "add", "file")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "file").write_text("two\n")
    return folder


def script(path: Path, canary: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ntouch {canary}\n")
    path.chmod(0o755)
    return path


def config(repository: Path, *settings: str) -> None:
    for setting in settings:
        name, _, value = setting.partition("=")
        git(repository, "config", name, value)


def use(folder: Path) -> None:
    """What people do in a repository, and in the folders in it."""
    places = [folder, *(path for path in sorted(folder.iterdir()) if path.is_dir() and path.name != ".git")]
    for place in places:
        for arguments in USE:
            git(place, *arguments, check=False)


def fsmonitor(work: Path, canary: Path) -> None:
    config(work, f"core.fsmonitor=touch {canary}; true")


def hook(work: Path, canary: Path) -> None:
    script(work / ".git/hooks/pre-commit", canary)


def hooks_path(work: Path, canary: Path) -> None:
    config(work, "core.hooksPath=tools")
    script(work / "tools/post-checkout", canary)


def included(work: Path, canary: Path) -> None:
    config(work, "include.path=../harmless")
    (work / "harmless").write_text(f'[core]\n\tfsmonitor = "touch {canary}; true"\n')


def included_by_branch(work: Path, canary: Path) -> None:
    config(work, "includeIf.onbranch:main.path=../harmless")
    (work / "harmless").write_text(f'[core]\n\tfsmonitor = "touch {canary}; true"\n')


def clean_filter(work: Path, canary: Path) -> None:
    config(work, f"filter.x.clean=touch {canary}; cat")
    (work / ".gitattributes").write_text("* filter=x\n")


def diff_driver(work: Path, canary: Path) -> None:
    config(work, f"diff.x.textconv=touch {canary}; cat")
    (work / ".git/info/attributes").write_text("* diff=x\n")


def signing_program(work: Path, canary: Path) -> None:
    config(work, f"gpg.program={script(work / 'gpg', canary)}", "commit.gpgSign=true")


def remote_program(work: Path, canary: Path) -> None:
    config(work, f"remote.origin.url=ext::sh -c touch% {canary}", "protocol.ext.allow=always")


def ssh_program(work: Path, canary: Path) -> None:
    config(work, "remote.origin.url=ssh://git@example.org/x", f"core.sshCommand=touch {canary}; true")


def link_to_another(work: Path, canary: Path) -> None:
    fsmonitor(work, canary)
    shutil.move(work / ".git", work / "data")
    (work / ".git").write_text("gitdir: data\n")


def common_folder(work: Path, canary: Path) -> None:
    shutil.copytree(work / ".git", work / "data")
    (work / "data/config").write_text(f'[core]\n\tfsmonitor = "touch {canary}; true"\n')
    (work / ".git/commondir").write_text("../data\n")


def bare_repository(work: Path, canary: Path) -> None:
    git(work, "clone", "-q", "--bare", ".", "fixture.git")
    config(work / "fixture.git", "core.bare=false", "core.worktree=.", f"core.fsmonitor=touch {canary}; true")


def nested(work: Path, canary: Path) -> None:
    fsmonitor(repository(work / "vendored"), canary)


def submodule(work: Path, canary: Path) -> None:
    repository(work / "sub")
    git(work / "sub", "checkout", "-q", "file")
    git(work, "-c", "protocol.file.allow=always", "submodule", "add", "./sub")
    git(work, "submodule", "absorbgitdirs")
    git(work, "commit", "-q", "-m", "sub")
    config(work / "sub", f"core.fsmonitor=touch {canary}; true")
    assert (work / "sub/.git").is_file()


def per_worktree_settings(work: Path, canary: Path) -> None:
    config(work, "extensions.worktreeConfig=true")
    (work / ".git/config.worktree").write_text(f'[core]\n\tfsmonitor = "touch {canary}; true"\n')


def index_that_names_a_hook(work: Path, canary: Path) -> None:
    script(work / "xgit/hooks/post-checkout", canary)
    git(work, "add", "xgit")
    shutil.rmtree(work / "xgit")
    index = work / ".git/index"
    body = index.read_bytes()[:-20].replace(b"xgit/hooks", b".git/hooks")
    index.write_bytes(body + hashlib.sha1(body, usedforsecurity=False).digest())


@pytest.mark.parametrize("poison", [
    fsmonitor, hook, hooks_path, included, included_by_branch, clean_filter, diff_driver, signing_program,
    remote_program, ssh_program, link_to_another, common_folder, bare_repository, nested, submodule,
    per_worktree_settings, index_that_names_a_hook,
])  # fmt: skip
def test_who_uses_git_in_a_copy_runs_nothing_of_the_guests(
    host: HostTree, output: Path, canary: Path, poison: Callable[[Path, Path], None]
) -> None:
    poison(repository(host.workspace), canary)
    shutil.copytree(host.workspace, output.parent / "as it is", symlinks=True)

    done = export(host.tree, ".", output, overwrite=False)
    use(output)

    assert not canary.exists()
    use(output.parent / "as it is")
    assert canary.exists(), "the poison does not work with this git, so nothing has been shown"
    assert poison is index_that_names_a_hook or done["skipped"], "nothing was said"


def test_a_copied_repository_is_as_it_was_for_its_owner(host: HostTree, output: Path) -> None:
    work = repository(host.workspace)
    git(work, "tag", "v1")
    config(work, "remote.origin.url=https://example.org/x.git", "user.email=me@work.example", "core.pager=less -R")
    git(work, "repack", "-q", "-a", "-d")
    git(work, "commit", "-q", "-a", "-m", 'second "line"')
    (work / "new").write_text("")

    done = export(host.tree, "/workspace", output, overwrite=False)

    assert [one["path"] for one in done["skipped"]] == ["/workspace/.git/config"]
    assert "core.pager" in done["skipped"][0]["reason"]
    for arguments in (["log", "--format=%H %s", "--all"], ["tag"], ["status", "--porcelain"], ["reflog"], ["fsck"]):
        assert git(output, *arguments) == git(work, *arguments)
    assert git(output, "config", "remote.origin.url") == "https://example.org/x.git\n"
    assert git(output, "config", "user.email") == "me@work.example\n"


def test_a_repository_without_a_commit_is_copied(host: HostTree, output: Path) -> None:
    git(host.workspace, "init", "-q", "-b", "main")
    (host.workspace / "file").write_text("")

    assert export(host.tree, ".", output, overwrite=False)["skipped"] == []
    assert git(output, "status", "--porcelain", "--branch") == "## No commits yet on main\n?? file\n"


def test_what_git_could_run_is_not_copied_by_itself_either(host: HostTree, output: Path, canary: Path) -> None:
    work = repository(host.workspace)
    hook(work, canary)
    fsmonitor(work, canary)

    for path in (".git/hooks", ".git/hooks/pre-commit", ".git/index"):
        with pytest.raises(InvalidRequest, match="git could run"):
            export(host.tree, path, output, overwrite=False)
    export(host.tree, ".git/config", output, overwrite=False)
    assert "touch" not in output.read_text() and "filemode" in output.read_text()
    export(host.tree, ".git", output.parent / ".git", overwrite=False)
    assert not (output.parent / ".git/hooks").exists() and git(output.parent, "log", "--format=%s") == "first\n"


@pytest.mark.parametrize("place", [".git", ".git/hooks", ".GIT/config"])
def test_nothing_is_put_into_a_repository_of_the_host(host: HostTree, output: Path, place: str) -> None:
    script(host.workspace / "evil", output)
    (output.parent / place).mkdir(parents=True)

    with pytest.raises(InvalidRequest, match=r"in a \.git folder"):
        export(host.tree, "evil", output.parent / place / "pre-commit", overwrite=False)
    with pytest.raises(InvalidRequest, match=r"in a \.git folder"):
        export(host.tree, ".", output.parent / place, overwrite=True)


@pytest.mark.parametrize("name", [".GIT/config", ".git /config", "git~1/config", ".git/objects/info/alternates"])
def test_other_spellings_and_other_ways_are_left_out(host: HostTree, output: Path, name: str) -> None:
    (host.workspace / name).parent.mkdir(parents=True)
    (host.workspace / name).write_text("[core]\n")

    done = export(host.tree, ".", output, overwrite=False)

    assert len(done["skipped"]) == 1 and not any(path.is_file() for path in output.rglob("*"))


def test_files_that_tools_run_by_themselves_are_named_when_they_are_not_the_seeds(host: HostTree, output: Path) -> None:
    for root, content in ((host.baseline, "same"), (host.workspace, "same")):
        (root / ".vscode").mkdir()
        (root / ".vscode/tasks.json").write_text(content)
        (root / ".envrc").write_text(content + str(root is host.workspace))
    (host.workspace / "node_modules/.bin").mkdir(parents=True)
    for name in ("a", "b"):
        (host.workspace / "node_modules/.bin" / name).symlink_to("../x")

    done = export(host.tree, ".", output, overwrite=False)

    named = [(one["path"], one["tool"]) for one in done["self_running"]]
    assert named == [("/workspace/.envrc", "direnv"), ("/workspace/node_modules/.bin/a", "npm scripts")]


def test_a_path_with_a_nul_is_refused(host: HostTree, output: Path) -> None:
    with pytest.raises(InvalidRequest, match="NUL"):
        export(host.tree, ".", Path(f"{output}\0"), overwrite=False)
