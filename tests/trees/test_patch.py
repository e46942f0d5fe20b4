"""Patches: what is applied, how it is told, and what is refused without a trace."""

from __future__ import annotations

import base64
import os
import resource
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.trees.diff import diff
from pyro_mcp.trees.patch import apply_patch
from tests.trees.conftest import MakeTree
from tests.trees.host_tree import DEADLINE, HostTree
from tests.trees.models import Leaf, Model, as_git_sees, harvest, plant, versions

EDIT = b"--- a/x.py\n+++ b/x.py\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"


def status_of(host: HostTree, patch: bytes | str) -> dict[str, str]:
    return {entry["path"]: entry["status"] for entry in apply_patch(host.tree, patch)["entries"]}


@settings(max_examples=60)
@given(trees=versions())
@example(trees=({b"a": Leaf("f", b"")}, {b"a": Leaf("f", b"\r")}))
@example(trees=({b"a": Leaf("f", b"")}, {b"a": Leaf("f", b"crlf\r\n")}))
@example(trees=({b"a": Leaf("l", b"a")}, {b"a/b": Leaf("l", b"a")}))
@example(trees=({b"a": Leaf("l", b"/etc")}, {b"a/b": Leaf("f", b"1")}))
def test_the_patch_of_a_diff_applied_to_the_seed_leaves_nothing_to_diff(
    new_host: MakeTree, trees: tuple[Model, Model]
) -> None:
    host, other = new_host(), new_host()
    for root in (host.baseline, other.workspace):
        plant(root, trees[0])
    plant(host.workspace, trees[1])

    found = diff(host.tree, include_ignored=True, binary=True)
    if not found["patch"]:
        return
    done = apply_patch(other.tree, found["patch"])

    assert as_git_sees(harvest(other.workspace)) == as_git_sees(trees[1])
    assert done["changed"]
    left = [name for folder, names, files in os.walk(other.workspace) if not names and not files for name in [folder]]
    assert left in ([], [str(other.workspace)]), "folders that became empty were left behind"


@pytest.mark.parametrize("names", [("a/x.py", "b/x.py"), ("x.py", "x.py"), ("a/x.py\t2024-01-01 10:00", "b/x.py\tnow")])
def test_a_file_is_edited_and_keeps_its_mode(host: HostTree, names: tuple[str, str]) -> None:
    plant(host.workspace, {b"x.py": Leaf("f", b"one\ntwo\nthree\n", 0o750)})
    patch = EDIT.replace(b"a/x.py", names[0].encode()).replace(b"b/x.py", names[1].encode())

    assert status_of(host, patch) == {"x.py": "modified"}
    assert harvest(host.workspace) == {b"x.py": Leaf("f", b"one\nTWO\nthree\n", 0o750)}


def test_names_without_prefix_below_a_folder_are_understood(host: HostTree) -> None:
    plant(host.workspace, {b"src/x.py": Leaf("f", b"one\ntwo\nthree\n"), b"x.py": Leaf("f", b"one\ntwo\nthree\n")})

    assert status_of(host, EDIT.replace(b"a/", b"src/").replace(b"b/", b"src/")) == {"src/x.py": "modified"}


def test_a_folder_with_the_name_of_a_prefix_is_understood(host: HostTree) -> None:
    plant(host.workspace, {b"a/x.py": Leaf("f", b"one\ntwo\nthree\n")})

    assert status_of(host, EDIT.replace(b"b/", b"a/")) == {"a/x.py": "modified"}


def test_files_are_added_deleted_moved_and_made_executable(host: HostTree) -> None:
    plant(
        host.workspace, {b"gone/f": Leaf("f", b"1\n"), b"from/f": Leaf("f", b"2\n", 0o640), b"run": Leaf("f", b"3\n")}
    )
    patch = """\
diff --git a/new/deep/f b/new/deep/f
new file mode 100755
--- /dev/null
+++ b/new/deep/f
@@ -0,0 +1 @@
+new
diff --git a/gone/f b/gone/f
deleted file mode 100644
--- a/gone/f
+++ /dev/null
@@ -1 +0,0 @@
-1
diff --git a/from/f b/to/f
rename from from/f
rename to to/f
diff --git a/run b/run
old mode 100644
new mode 100755
"""

    done = apply_patch(host.tree, patch)

    assert harvest(host.workspace) == {
        b"new/deep/f": Leaf("f", b"new\n", 0o755), b"to/f": Leaf("f", b"2\n", 0o640), b"run": Leaf("f", b"3\n", 0o755)
    }  # fmt: skip
    assert done["summary"] == {"total": 4, "added": 1, "modified": 1, "deleted": 1, "type_changed": 0, "renamed": 1}
    assert not (host.workspace / "gone").exists() and not (host.workspace / "from").exists()


def test_a_folder_with_other_content_stays_when_a_file_in_it_goes(host: HostTree) -> None:
    plant(host.workspace, {b"d/gone": Leaf("f", b"1\n"), b"d/.hidden": Leaf("f", b"x")})

    status_of(host, "--- a/d/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n")

    assert list(harvest(host.workspace)) == [b"d/.hidden"]


@pytest.mark.parametrize("file_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("body_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("head_end", [b"\n", b"\r\n"])
def test_line_ends_that_were_converted_on_the_way_do_not_matter(
    host: HostTree, file_end: bytes, body_end: bytes, head_end: bytes
) -> None:
    plant(host.workspace, {b"x.py": Leaf("f", b"one\ntwo\nthree\n".replace(b"\n", file_end))})
    head, body = EDIT[: EDIT.index(b" one")], EDIT[EDIT.index(b" one") :]

    status_of(host, head.replace(b"\n", head_end) + body.replace(b"\n", body_end))

    assert (host.workspace / "x.py").read_bytes() == b"one\nTWO\nthree\n".replace(b"\n", file_end)


def test_a_new_file_with_crlf_keeps_it_unless_the_whole_patch_has_it(host: HostTree) -> None:
    patch = b"--- /dev/null\n+++ b/kept\n@@ -0,0 +1 @@\n+x\r\n"
    status_of(host, patch + b"")
    status_of(host, patch.replace(b"kept", b"lf").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

    assert harvest(host.workspace) == {b"kept": Leaf("f", b"x\r\n"), b"lf": Leaf("f", b"x\n")}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_missing_newline_at_the_end_is_kept_and_changed(host: HostTree, end: bytes) -> None:
    plant(host.workspace, {b"x": Leaf("f", b"one" + end + b"two")})
    no_end = b"\\ No newline at end of file\n"
    patch = b"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n one\n-two\n" + no_end + b"+2\n" + no_end

    status_of(host, patch)

    assert (host.workspace / "x").read_bytes() == b"one" + end + b"2"


def test_a_hunk_that_does_not_fit_names_file_hunk_and_nearest_lines(host: HostTree) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(1, 60)) + b"one\ntwo and a half\nthree\nfour\n"
    plant(host.workspace, {b"x.py": Leaf("f", lines), b"y": Leaf("f", b"1\n")})
    before = harvest(host.workspace)

    with pytest.raises(InvalidRequest) as caught:
        apply_patch(host.tree, b"--- a/y\n+++ b/y\n@@ -1 +1 @@\n-1\n+2\n" + EDIT)

    assert "/workspace/x.py at its hunk @@ -1,3 +1,3 @@" in caught.value.message
    assert "60  one\n61  two and a half\n62  three" in caught.value.hint
    assert harvest(host.workspace) == before and "apply" not in host.tool.calls


def test_a_hunk_that_is_like_nothing_shows_where_it_should_have_been(host: HostTree) -> None:
    plant(host.workspace, {b"x.py": Leaf("f", b"alpha\nbeta\n")})

    with pytest.raises(InvalidRequest) as caught:
        apply_patch(host.tree, EDIT)

    assert "1  alpha\n2  beta" in caught.value.hint


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "x/../y",
        ".git/config",
        "sub/.git/hooks/post-checkout",
        ".GIT/config",
        "x//y",
    ],
)
def test_a_path_that_leaves_or_enters_git_is_refused(host: HostTree, path: str) -> None:
    with pytest.raises(InvalidRequest, match=r"is outside /workspace|\.git folder"):
        apply_patch(host.tree, f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n")

    assert host.tool.calls == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../x"])
def test_a_name_without_prefix_that_leaves_is_refused(host: HostTree, path: str) -> None:
    with pytest.raises(InvalidRequest):
        apply_patch(host.tree, f"--- /dev/null\n+++ {path}\n@@ -0,0 +1 @@\n+x\n")

    assert host.tool.calls == []


@pytest.mark.parametrize("move", ["../out", "/etc/x", ".git/x"])
def test_a_move_that_leaves_is_refused(host: HostTree, move: str) -> None:
    plant(host.workspace, {b"x": Leaf("f", b"1\n")})

    with pytest.raises(InvalidRequest):
        apply_patch(host.tree, f"diff --git a/x b/{move}\nrename from x\nrename to {move}\n")

    assert harvest(host.workspace) == {b"x": Leaf("f", b"1\n")}


@pytest.mark.parametrize("patch", ["", " \n\n", "hello\n", "--- a/x\n", "@@ -1 +1 @@\n-1\n+2\n", "\0", "\ud800"])
def test_what_is_no_patch_is_refused(host: HostTree, patch: str) -> None:
    with pytest.raises(InvalidRequest):
        apply_patch(host.tree, patch)


@pytest.mark.parametrize(
    "patch",
    [
        EDIT.replace(b"-1,3 +1,3", b"-1,3 +1,9"),
        EDIT[:-8],
        EDIT.replace(b"x.py", b"missing"),
        b"--- /dev/null\n+++ b/x.py\n@@ -0,0 +1 @@\n+x\n",
        b"diff --git a/x.py b/x.py\nindex 1..2\nGIT binary patch\nliteral 5\nMcmd0KS;EB\n\n",
        b"diff --git a/m b/m\nnew file mode 160000\n--- /dev/null\n+++ b/m\n@@ -0,0 +1 @@\n+Subproject commit "
        + b"1" * 40
        + b"\n",
    ],
)
def test_a_broken_patch_changes_nothing(host: HostTree, patch: bytes) -> None:
    plant(host.workspace, {b"x.py": Leaf("f", b"one\ntwo\nthree\n")})

    with pytest.raises(InvalidRequest):
        apply_patch(host.tree, patch)

    assert harvest(host.workspace) == {b"x.py": Leaf("f", b"one\ntwo\nthree\n")}


def test_a_patch_for_a_file_does_not_change_a_link(host: HostTree) -> None:
    plant(host.workspace, {b"x": Leaf("l", b"one")})

    with pytest.raises(InvalidRequest, match="is a link"):
        apply_patch(
            host.tree,
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-one\n\\ No newline at end of file\n+two\n\\ No newline at end of file\n",
        )

    assert harvest(host.workspace) == {b"x": Leaf("l", b"one")}


def test_a_new_file_where_a_folder_or_a_pipe_is_is_refused(host: HostTree) -> None:
    plant(host.workspace, {b"folder/f": Leaf("f", b"1")})
    os.mkfifo(host.workspace / "pipe")

    for name, what in (("folder", "is a folder"), ("pipe", "is a pipe")):
        with pytest.raises(InvalidRequest, match=what):
            apply_patch(host.tree, f"--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+x\n")


def test_a_patch_through_a_link_that_leads_out_is_refused(host: HostTree, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (host.workspace / "out").symlink_to(outside)

    with pytest.raises(InvalidRequest, match="leads out of /workspace"):
        apply_patch(host.tree, "--- /dev/null\n+++ b/out/x\n@@ -0,0 +1 @@\n+x\n")

    assert list(outside.iterdir()) == []


def test_what_gnu_diff_prints_applies(host: HostTree, tmp_path: Path) -> None:
    old, new = (
        {b"s/x": Leaf("f", b"1\n2\n"), b"gone": Leaf("f", b"x\n")},
        {b"s/x": Leaf("f", b"1\n3\n"), b"n": Leaf("f", b"n\n")},
    )
    plant(tmp_path / "old", old)
    plant(tmp_path / "new", new)
    plant(host.workspace, old)
    argv = ["diff", "-ruN", "old", "new"]
    made = subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=DEADLINE, check=False).stdout

    apply_patch(host.tree, made)

    assert harvest(host.workspace) == new


def test_five_files_take_a_bounded_number_of_calls_to_the_guest(host: HostTree) -> None:
    model = {b"f%d" % number: Leaf("f", b"one\ntwo\nthree\n") for number in range(5)}
    plant(host.workspace, model)

    apply_patch(host.tree, b"".join(EDIT.replace(b"x.py", name) for name in model))

    assert host.tool.calls == ["walk", "apply"]


def test_a_binary_patch_that_unfolds_to_gigabytes_is_refused_within_bounded_memory(host: HostTree) -> None:
    packed = zlib.compressobj(level=1)
    bomb = b"".join(packed.compress(bytes(1 << 24)) for _ in range(80)) + packed.flush()
    lines = [git_base85(bomb[at : at + 52]) for at in range(0, len(bomb), 52)]
    patch = b"\n".join(
        [
            b"diff --git a/bomb b/bomb\nnew file mode 100644",
            b"index %b..%b\nGIT binary patch\nliteral %d" % (b"0" * 40, b"1" * 40, 80 << 24),
            *lines,
            b"\n",
        ]
    )

    with pytest.raises(InvalidRequest, match="more than git may use on the host: 1024 MiB"):
        apply_patch(host.tree, patch)

    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1100 * 1024
    assert os.listdir(host.workspace) == []


def git_base85(data: bytes) -> bytes:
    """A line of a binary patch: a letter for its length, then base 85 as git writes it."""
    length = len(data) + 64 if len(data) <= 26 else len(data) - 27 + 97
    return bytes([length]) + base64.b85encode(data, pad=True)
