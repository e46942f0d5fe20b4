"""What a diff shows, and that its patch makes the seed into the workspace."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pyro_mcp.guest_protocol.frames import encode_fields
from pyro_mcp.guest_protocol.tree_stream import Tag, Type
from pyro_mcp.results import Diff, DiffEntry
from pyro_mcp.trees.diff import MAX_FILE, diff
from pyro_mcp.trees.guest_tree import GuestTree
from tests.trees.answers import Recorded, end
from tests.trees.conftest import MakeTree
from tests.trees.host_tree import DEADLINE, HostTree
from tests.trees.models import Leaf, Model, as_git_sees, harvest, plant, versions

GIT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CEILING_DIRECTORIES": "/"}


def git_apply(folder: Path, patch: str) -> None:
    """Apply a patch as a user would, in a folder that is no repository."""
    argv = ["git", "apply", "--whitespace=nowarn", "-"]
    environ = os.environ | GIT
    done = subprocess.run(
        argv, cwd=folder, env=environ, input=os.fsencode(patch), capture_output=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def cannot_be_followed(folder: Path, path: bytes) -> bool:
    """Whether a path is a link that git cannot make a folder of: it asks for a name below first."""
    try:
        os.stat(os.path.join(os.fsencode(folder), path, b"x"))
    except OSError as error:
        return error.errno not in {errno.ENOENT, errno.ENOTDIR}
    return False


def lies_above(path: bytes, model: Model) -> bool:
    return any(other.startswith(path + b"/") for other in model)


def statuses(found: Diff) -> dict[str, str]:
    return {entry["path"]: entry["status"] for entry in found["entries"]}


def entry_of(found: Diff, path: str) -> DiffEntry:
    return next(entry for entry in found["entries"] if entry["path"] == path)


@settings(max_examples=60)
@given(trees=versions())
@example(trees=({b"a": Leaf("f", b"x")}, {b"a/b": Leaf("f", b"x")}))
@example(trees=({b"a/b": Leaf("f", b"x")}, {b"a": Leaf("f", b"x")}))
@example(trees=({b"a": Leaf("l", b"x")}, {b"a": Leaf("f", b"x")}))
@example(trees=({b"a": Leaf("l", b"x")}, {b"a/b": Leaf("f", b"x")}))
@example(trees=({b"a": Leaf("l", b"x")}, {b"a/b": Leaf("l", b"x")}))
@example(trees=({b"a": Leaf("l", b"x"), b"c": Leaf("f", b"1")}, {b"a/b": Leaf("f", b"1"), b"d": Leaf("l", b"x")}))
@example(trees=({b"a/b": Leaf("l", b"x")}, {b"a": Leaf("l", b"x")}))
@example(trees=({b"a": Leaf("f", b"1\n"), b"b": Leaf("f", b"2\n")}, {b"a": Leaf("f", b"2\n"), b"b": Leaf("f", b"1\n")}))
def test_the_patch_makes_the_seed_into_the_workspace(new_host: MakeTree, trees: tuple[Model, Model]) -> None:
    host = new_host()
    old, new = trees
    plant(host.baseline, old)
    plant(host.workspace, new)
    assume(not any(cannot_be_followed(host.baseline, path) and lies_above(path, new) for path in old))

    found = diff(host.tree, include_ignored=True, binary=True)
    if found["patch"]:
        git_apply(host.baseline, found["patch"])

    assert found["patch_complete"] and found["left_out"] == []
    assert as_git_sees(harvest(host.baseline)) == as_git_sees(new)
    assert found["changed"] == (old != new)


@settings(max_examples=30)
@given(trees=versions())
def test_the_counts_are_those_of_the_entries(new_host: MakeTree, trees: tuple[Model, Model]) -> None:
    host = new_host()
    plant(host.baseline, trees[0])
    plant(host.workspace, trees[1])

    found = diff(host.tree, include_ignored=True, binary=True)

    summary = found["summary"]
    by_status = [entry["status"] for entry in found["entries"]]
    assert summary["total"] == len(by_status) == summary["text_patched"] + summary["non_text"]
    for status in ("added", "modified", "deleted", "type_changed", "renamed"):
        assert summary[status] == by_status.count(status)
    assert all((entry["text_patch"] or "") in found["patch"] for entry in found["entries"])


@pytest.mark.parametrize("patch", [True, False])
def test_each_kind_of_change_is_told(host: HostTree, patch: bool) -> None:
    plant(host.baseline, {b"gone": Leaf("f", b"1\n"), b"kept": Leaf("f", b"2\n"), b"was": Leaf("f", b"3\n")})
    plant(host.baseline, {b"mode": Leaf("f", b"4\n"), b"edited": Leaf("f", b"5\n")})
    plant(host.workspace, {b"kept": Leaf("f", b"2\n"), b"was": Leaf("l", b"kept"), b"mode": Leaf("f", b"4\n", 0o755)})
    plant(host.workspace, {b"edited": Leaf("f", b"5\n6\n"), b"new": Leaf("f", b"quite something else\n")})

    found = diff(host.tree, patch=patch, include_ignored=True)

    assert statuses(found) == {
        "edited": "modified", "gone": "deleted", "mode": "modified", "new": "added", "was": "type_changed"
    }  # fmt: skip
    assert (
        entry_of(found, "was")["old_artifact_type"] == "file" and entry_of(found, "was")["artifact_type"] == "symlink"
    )
    assert (entry_of(found, "mode")["old_mode"], entry_of(found, "mode")["mode"]) == ("0644", "0755")
    assert (entry_of(found, "edited")["old_size_bytes"], entry_of(found, "edited")["size_bytes"]) == (2, 4)
    assert ("+6\n" in (entry_of(found, "edited")["text_patch"] or "")) == patch


def test_nothing_changed_is_nothing_told(host: HostTree) -> None:
    plant(host.baseline, {b"a/b": Leaf("f", b"1")})
    plant(host.workspace, {b"a/b": Leaf("f", b"1")})

    found = diff(host.tree, include_ignored=True, binary=True)

    assert not found["changed"] and found["entries"] == [] and found["patch"] == "" and found["patch_complete"]


def test_a_renamed_file_with_a_small_edit_is_one_entry(host: HostTree) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(50))
    plant(host.baseline, {b"old/name": Leaf("f", lines)})
    plant(host.workspace, {b"new/name": Leaf("f", lines + b"more\n")})

    found = diff(host.tree, include_ignored=True, binary=True)

    (entry,) = found["entries"]
    assert (entry["status"], entry["old_path"], entry["path"]) == ("renamed", "old/name", "new/name")
    assert "rename from old/name\n" in (entry["text_patch"] or "")


def test_binary_files_are_in_the_patch_but_not_as_text(host: HostTree) -> None:
    plant(
        host.workspace, {b"nul": Leaf("f", b"\0" * 100), b"latin": Leaf("f", b"caf\xe9\n"), b"text": Leaf("f", b"ok\n")}
    )

    found = diff(host.tree, include_ignored=True, binary=True)

    assert [entry["path"] for entry in found["entries"] if entry["text_patch"] is None] == ["latin", "nul"]
    assert found["summary"]["text_patched"] == 1 and found["summary"]["non_text"] == 2
    assert found["patch"].encode().isascii()
    git_apply(host.baseline, found["patch"])
    assert harvest(host.baseline) == harvest(host.workspace)


def test_a_large_file_is_named_and_the_rest_of_the_patch_applies(host: HostTree) -> None:
    plant(host.baseline, {b"shrunk": Leaf("f", b"x" * (MAX_FILE + 1))})
    plant(
        host.workspace,
        {b"huge": Leaf("f", b"x" * (MAX_FILE + 1)), b"shrunk": Leaf("f", b"x"), b"s": Leaf("f", b"s")},
    )

    found = diff(host.tree, include_ignored=True, binary=True)

    assert not found["patch_complete"] and found["left_out"] == ["huge", "shrunk"]
    git_apply(host.baseline, found["patch"])
    assert (host.baseline / "s").read_text() == "s"


def test_a_large_file_of_another_mode_is_in_the_patch(host: HostTree) -> None:
    plant(host.baseline, {b"huge": Leaf("f", b"x" * (MAX_FILE + 1))})
    plant(host.workspace, {b"huge": Leaf("f", b"x" * (MAX_FILE + 1), 0o755)})

    found = diff(host.tree, include_ignored=True, binary=True)

    assert found["patch_complete"] and "old mode 100644\nnew mode 100755" in found["patch"]
    assert host.tool.calls == ["changes"], "its content was read for nothing"


def test_the_git_folder_is_counted_and_nothing_of_it_shown(host: HostTree) -> None:
    plant(host.baseline, {b".git/HEAD": Leaf("f", b"1"), b"sub/.git/config": Leaf("f", b"1")})
    plant(host.workspace, {b".git/HEAD": Leaf("f", b"2"), b".git/new": Leaf("f", b"1"), b"x": Leaf("f", b"1")})
    plant(host.workspace, {b"sub/.git/config": Leaf("f", b"2")})

    found = diff(host.tree, include_ignored=True, binary=True)

    assert statuses(found) == {"x": "added"} and found["git_changes"] == 3 and found["patch_complete"]
    assert "HEAD" not in found["patch"] and "config" not in found["patch"]


@pytest.mark.parametrize("name", [b".GIT", b"git~1", b".git ", b".git.", b"GIT~1. .", b".git:x"])
def test_a_name_that_git_refuses_does_not_spoil_the_rest(host: HostTree, name: bytes) -> None:
    plant(
        host.workspace, {b"d/" + name + b"/f": Leaf("f", b"1\n"), name: Leaf("f", b"1\n"), b"good": Leaf("f", b"2\n")}
    )

    found = diff(host.tree, include_ignored=True, binary=True)

    assert found["left_out"] == sorted([os.fsdecode(name), f"d/{os.fsdecode(name)}/f"])
    git_apply(host.baseline, found["patch"])
    assert harvest(host.baseline) == {b"good": Leaf("f", b"2\n")}


@pytest.mark.parametrize("name", [b".gitmodules", b".GITMODULES", b"gitmod~1", b"gi7eba~1"])
def test_a_link_that_git_refuses_does_not_spoil_the_rest(host: HostTree, name: bytes) -> None:
    plant(host.workspace, {name: Leaf("l", b"x"), b"good": Leaf("f", b"2\n")})

    found = diff(host.tree, include_ignored=True, binary=True)

    assert found["left_out"] == [os.fsdecode(name)]
    git_apply(host.baseline, found["patch"])


def test_attributes_and_settings_have_no_say(host: HostTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".config/git").mkdir(parents=True)
    (tmp_path / ".config/git/attributes").write_text("* binary\n")
    (tmp_path / ".gitconfig").write_text("[diff]\n\tnoprefix = true\n\texternal = /bin/false\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "/bin/false")
    plant(host.baseline, {b".gitattributes": Leaf("f", b"* binary\n*.txt diff=evil\n"), b"a.txt": Leaf("f", b"1\n")})
    plant(host.workspace, {b".gitattributes": Leaf("f", b"* binary\n*.txt diff=evil\n"), b"a.txt": Leaf("f", b"2\n")})

    found = diff(host.tree, include_ignored=True, binary=True)

    assert found["patch"].endswith("--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-1\n+2\n")


def test_folders_and_special_files_are_entries_without_a_patch(host: HostTree) -> None:
    (host.workspace / "empty").mkdir()
    (host.workspace / "full").mkdir()
    (host.workspace / "full/file").write_text("x\n")
    os.mkfifo(host.workspace / "pipe")
    for root in (host.baseline, host.workspace):
        (root / "mode").mkdir()
    (host.workspace / "mode").chmod(0o700)
    (host.baseline / "became").write_text("x\n")
    (host.workspace / "became").mkdir()

    found = diff(host.tree, include_ignored=True, binary=True)

    assert statuses(found) == {
        "became": "type_changed", "empty": "added", "full/file": "added", "mode": "modified", "pipe": "added"
    }  # fmt: skip
    assert found["left_out"] == ["pipe"] and not found["patch_complete"]
    assert entry_of(found, "pipe")["artifact_type"] == "fifo"


@settings(max_examples=20)
@given(
    name=st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
)
def test_no_name_breaks_a_diff(new_host: MakeTree, name: bytes) -> None:
    host = new_host()
    plant(host.workspace, {name: Leaf("f", b"caf\xe9"), b"z": Leaf("f", b"1\n")})

    found = diff(host.tree, include_ignored=True, binary=True)

    assert statuses(found).get("z", "added") == "added" and found["summary"]["added"] + found["git_changes"] == len(
        {name, b"z"}
    )


def test_folders_that_are_nested_too_deep_are_named_and_the_rest_is_shown() -> None:
    deep = b"/".join([b"d"] * 1000)
    new = [(Tag.NEW_KIND, ord("d")), (Tag.NEW_MODE, 0o755), (Tag.NEW_SIZE, 0)]
    change = encode_fields(Type.CHANGE, [(Tag.PATH, b"new"), *new])
    tool = Recorded(change, encode_fields(Type.UNLISTED, [(Tag.PATH, deep)]), end(1))

    found = diff(GuestTree(tool), include_ignored=True, binary=True)

    assert [entry["path"] for entry in found["entries"]] == ["new"]
    assert found["left_out"] == [deep.decode()] and not found["patch_complete"]


def test_a_patch_looks_at_a_bounded_number_of_files_and_names_the_others(
    host: HostTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(host.workspace, {b"%d" % number: Leaf("f", b"text\n") for number in range(9)})
    monkeypatch.setattr(sys.modules[diff.__module__], "MAX_FILES", 5)

    found = diff(host.tree)

    assert len(found["entries"]) == 9 and found["patch"].count("diff --git") == 5
    assert (found["left_out"], found["patch_complete"]) == (["5", "6", "7", "8"], False)
