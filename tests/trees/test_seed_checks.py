"""What a person is told of a checkout that becomes a seed, and what of it can stay behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyro_mcp.engine.disks import make_baseline
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.trees.seed import prepare_seed, push, push_seed
from pyro_mcp.trees.seed_checks import may_hold_secrets
from tests.trees.host_tree import HostTree
from tests.trees.models import Leaf, harvest, plant
from tests.trees.test_export_git import git
from tests.trees.test_seed import listed


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project as it lies on a developer's disk."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    plant(
        folder,
        {
            b".gitignore": Leaf("f", b".venv/\n*.log\n.env\n"),
            b"src/main.py": Leaf("f", b"1"),
            b"kept.log": Leaf("f", b"22"),
        },
    )
    git(folder, "add", "-f", ".")
    git(folder, "commit", "-q", "-m", "first")
    plant(
        folder,
        {b".venv/lib/x.py": Leaf("f", b"x" * 1000), b"src/a.log": Leaf("f", b"333"), b".env": Leaf("f", b"KEY=1")},
    )
    plant(folder, {b".env.example": Leaf("f", b""), b"new.py": Leaf("f", b"")})
    return folder


def test_ignored_files_of_a_checkout_are_counted_and_likely_secrets_named(checkout: Path, tmp_path: Path) -> None:
    seed = prepare_seed(checkout, tmp_path)

    assert (seed.ignored_count, seed.ignored_bytes) == (3, 1000 + 3 + 5)
    assert (seed.likely_secrets, list(seed.left_out), seed.remarks) == ([".env"], [], [])


def test_ignored_files_stay_behind_when_asked_and_what_git_tracks_does_not(
    host: HostTree, checkout: Path, tmp_path: Path
) -> None:
    seed = prepare_seed(checkout, tmp_path, no_ignored=True)
    make_baseline(seed.tree, tmp_path / "image", seed.left_out)
    push_seed(host.tree, seed)

    files = {path for path in harvest(host.workspace) if not path.startswith(b".git/")}
    assert files == {b".gitignore", b"src/main.py", b"kept.log", b".env.example", b"new.py"}
    assert (seed.ignored_count, seed.likely_secrets) == (0, [])
    names = listed(tmp_path / "image", "/")
    assert b"kept.log" in names and b".venv" not in names and b" .env\n" not in names
    assert b"main.py" in listed(tmp_path / "image", "/src") and b"a.log" not in listed(tmp_path / "image", "/src")


def test_a_hostile_checkout_runs_nothing_when_it_is_looked_through(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "config", "core.fsmonitor", f"touch {tmp_path}/canary; true")
    git(checkout, "config", "core.untrackedCache", "true")

    assert prepare_seed(checkout, tmp_path).ignored_count == 3
    assert not (tmp_path / "canary").exists()


def test_a_checkout_with_a_broken_index_is_used_but_nothing_is_left_out_by_guessing(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / ".git/index").write_bytes(b"nonsense")

    assert prepare_seed(checkout, tmp_path).entry_count > 5
    with pytest.raises(InvalidRequest, match="cannot tell"):
        prepare_seed(checkout, tmp_path, no_ignored=True)


def test_git_data_that_lie_elsewhere_are_named(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "worktree", "add", "-q", "../other")
    plant(tmp_path / "other", {b"src/a.log": Leaf("f", b"1")})

    seed = prepare_seed(tmp_path / "other", tmp_path)

    (remark,) = seed.remarks
    assert "this git worktree" in remark and str(checkout) in remark and "git does not work" in remark
    assert seed.ignored_count == 1


def test_a_submodule_that_is_not_checked_out_is_named(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", "./", "sub")
    git(checkout, "commit", "-q", "-m", "sub")
    assert prepare_seed(checkout, tmp_path).remarks == []
    git(tmp_path, "clone", "-q", "project", "clone")

    assert prepare_seed(tmp_path / "clone", tmp_path).remarks == [
        "the submodule sub is not checked out, so its folder is empty"
    ]


@pytest.mark.parametrize("path", [".env", "a/.env.local", "home/.aws/credentials", "id_ed25519", "tls/server.key"])
def test_files_that_usually_hold_secrets_are_known(path: str) -> None:
    assert may_hold_secrets(os.fsencode(path)) and not may_hold_secrets(os.fsencode(path + ".example"))


@pytest.mark.parametrize(
    ("dest", "place"),
    [("/workspace", "notes.txt"), ("docs", "docs/notes.txt"), ("new/", "new/notes.txt"), ("new/name", "new/name")],
)
def test_a_file_is_pushed_into_a_folder_or_as_a_new_path(host: HostTree, tmp_path: Path, dest: str, place: str) -> None:
    (tmp_path / "notes.txt").write_bytes(b"\0binary")
    (tmp_path / "notes.txt").chmod(0o750)
    (host.workspace / "docs").mkdir()

    done = push(host.tree, tmp_path / "notes.txt", dest)

    assert harvest(host.workspace) == {place.encode(): Leaf("f", b"\0binary", 0o750)}
    assert (done["mode"], done["destination"], done["overwritten"]) == ("file", f"/workspace/{place}", [])
    assert push(host.tree, tmp_path / "notes.txt", dest)["overwritten"] == [f"/workspace/{place}"]
