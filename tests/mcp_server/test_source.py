"""What a workspace begins as when the model names no seed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pyro_mcp import create_server
from pyro_mcp.errors import HostCommandFailed, InvalidRequest, PyroError
from pyro_mcp.mcp_server.project_seed import (
    GIT_REPOSITORY_VARIABLES,
    ProjectSource,
    clone,
    project_source,
    without_credentials,
)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two commits, the first of them tagged `first`."""
    folder = tmp_path / "project"
    folder.mkdir()
    for variable in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{variable}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{variable}_EMAIL", "somebody@example.org")
    git(folder, "init", "--quiet", "--initial-branch=main")
    for word in ("first", "second"):
        (folder / "file").write_text(word)
        git(folder, "add", "file")
        git(folder, "commit", "--quiet", "--message", word)
        git(folder, "tag", f"the-{word}")
    return folder


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True, timeout=30)
    return done.stdout.strip()


def test_the_checkout_around_the_current_folder_is_found(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(repository / "deep/er")

    assert project_source() == ProjectSource(repository, detected=True)
    with project_source().seed() as seed:
        assert seed == {"seed_path": repository, "seed_origin": ("project_path", str(repository))}


def test_without_a_checkout_or_when_nothing_is_wanted_there_is_no_seed(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert project_source() == ProjectSource()
    monkeypatch.chdir(repository)
    assert project_source(no_project_source=True) == ProjectSource()
    with ProjectSource().seed() as seed:
        assert seed == {}


def test_a_clone_leaves_the_repository_alone_that_a_hook_is_in(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    git(own, "init", "--quiet", "--initial-branch=main")
    git(own, "commit", "--quiet", "--allow-empty", "--message", "own")
    before = git(own, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(own / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(own / ".git/index"))
    with project_source(repo_url=f"file://{repository}").seed() as seed:
        assert (seed["seed_path"] / "file").read_text() == "second"
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert (git(own, "rev-parse", "HEAD"), git(own, "remote"), git(own, "status", "--short")) == (before, "", "")


def test_every_variable_that_names_a_repository_is_known() -> None:
    listed = set(git(Path("/"), "rev-parse", "--local-env-vars").split())
    assert listed - {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"} <= GIT_REPOSITORY_VARIABLES


def test_no_credentials_are_told_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/git"
    program.write_text("#!/bin/sh\ncase \"$*\" in *fetch*) echo 'No space left on device' >&2; exit 128;; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(PyroError) as raised, project_source(repo_url="https://me:TOKEN123@example.org/x.git").seed():
        pass
    assert "TOKEN123" not in f"{raised.value.message}{raised.value.hint}"


def test_a_clone_is_clean_shallow_and_gone_afterwards(repository: Path) -> None:
    (repository / "file").write_text("changed and not committed")
    source = project_source(repo_url=f"file://{repository}")

    with source.seed() as seed:
        folder = seed["seed_path"]
        assert (folder / "file").read_text() == "second"
        assert git(folder, "rev-list", "--count", "HEAD") == "1"
        assert git(folder, "status", "--porcelain") == ""
        assert seed["seed_origin"] == ("repo_url", f"file://{repository}@{git(repository, 'rev-parse', 'HEAD')}")
    assert not folder.exists()


@pytest.mark.parametrize("ref", ["the-first", "refs/tags/the-first"])
def test_a_reference_is_what_is_cloned(repository: Path, tmp_path: Path, ref: str) -> None:
    assert clone(f"file://{repository}", ref, tmp_path / "clone") == git(repository, "rev-parse", "the-first")
    assert (tmp_path / "clone/file").read_text() == "first"


def test_a_commit_is_a_reference_too(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "the-first")

    assert clone(f"file://{repository}", commit, tmp_path / "clone") == commit


def test_a_clone_that_fails_says_why_without_the_credentials(tmp_path: Path) -> None:
    url = "https://user:hunter2@127.0.0.1:9/project.git"

    with pytest.raises(HostCommandFailed) as raised:
        clone(url, None, tmp_path / "clone")
    assert "hunter2" not in str(raised.value) and "127.0.0.1:9/project.git" in str(raised.value)


def test_credentials_are_found_in_any_address() -> None:
    assert without_credentials("https://u:p@host/a@b.git") == "https://host/a@b.git"
    assert without_credentials("https://host/a.git") == "https://host/a.git"
    assert without_credentials("ssh://git@host/a.git") == "ssh://git@host/a.git"
    assert without_credentials("git@host:a.git") == "git@host:a.git"


@pytest.mark.parametrize(
    "options",
    [
        {"project_path": "/", "repo_url": "https://example.org/a"},
        {"project_path": "/", "no_project_source": True},
        {"repo_ref": "main"},
        {"network_policy": "off", "allow_hosts": ["example.org"]},
        {"results": "json"},
        {"project_path": "/nowhere/at/all"},
        {"repo_url": "--upload-pack=touch /tmp/x"},
        {"repo_url": "https://example.org/a", "repo_ref": "--exec=x"},
        {"repo_url": ""},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        create_server(**options)  # type: ignore[arg-type]
