"""A diff shows what a person has changed, not what tools have left behind."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyro_mcp.trees.diff import diff
from pyro_mcp.trees.gitignore import ignored_changes
from tests.trees.conftest import MakeTree
from tests.trees.host_tree import DEADLINE, HostTree
from tests.trees.models import Leaf, Model, harvest, plant
from tests.trees.test_diff import GIT, git_apply

_NAMES = st.sampled_from([b"a", b"b.o", b"build", b"src", b"a b", b"[x]", b"*", b"#h", b"!n", b"new\nline", b"\\"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map(b"/".join)
_RULES = st.lists(
    st.sampled_from(
        [b"*", b"*.o", b"build", b"build/", b"/build", b"/a", b"!a", b"!*.o", b"src/*", b"src/a", b"**/a", b"a/**",
         b"/**/b.o", b"# a comment", b"", b"   ", b"a ", b"a b", b"a\\ b", b"\\#h", b"\\!n", b"[ab]", b"\\[x\\]",
         b"\\*", b"!src/", b"/*/", b"!/src", b"/", b"!", b"src/../a", b"a\r", b"?", b"\\\\"]
    ),
    min_size=1, max_size=5,
)  # fmt: skip


def ignored_by_git(folder: Path) -> set[bytes]:
    """The files that git ignores in a folder in which nothing is committed."""
    for arguments in (["init", "-q"], ["ls-files", "-z", "--others", "--ignored", "--exclude-standard"]):
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=os.environ | GIT | {"HOME": "/nonexistent"}, capture_output=True,
            check=True, timeout=DEADLINE,
        )  # fmt: skip
    return set(done.stdout.split(b"\0")[:-1])


@settings(max_examples=60)
@given(
    files=st.lists(_PATHS, min_size=1, max_size=8),
    rules=st.dictionaries(st.one_of(st.just(b""), _PATHS), _RULES, min_size=1, max_size=3),
)
@example(files=[b"src/a/b.o"], rules={b"src": [b"a/"], b"src/a": [b"!b.o"]})
@example(files=[b"src/new\nline/b.o"], rules={b"src/new\nline": [b"*.o"]})
def test_new_files_are_ignored_as_git_ignores_them(
    new_host: MakeTree, files: list[bytes], rules: dict[bytes, list[bytes]]
) -> None:
    model: Model = {}
    for path in files:
        if not any(path.startswith(other + b"/") or other.startswith(path + b"/") for other in model):
            model[path] = Leaf("f", b"")
    for folder, lines in rules.items():
        if not any(folder == path or folder.startswith(path + b"/") for path in model):
            model[folder + b"/.gitignore" if folder else b".gitignore"] = Leaf("f", b"\n".join(lines) + b"\n")
    host = new_host()
    plant(host.workspace, model)

    found = ignored_changes(host.tree, host.tree.changes().found)

    assert found & model.keys() == ignored_by_git(host.workspace)


def test_after_a_test_run_only_what_the_user_changed_is_shown(host: HostTree) -> None:
    seed = {
        b".gitignore": Leaf("f", b"__pycache__/\n*.log\n"),
        b"calc.py": Leaf("f", b"a\n"),
        b"old.log": Leaf("f", b""),
    }
    plant(host.baseline, seed)
    plant(host.workspace, seed)
    (host.workspace / "calc.py").write_text("b\n")
    (host.workspace / "old.log").write_text("more\n")
    plant(host.workspace, {b"__pycache__/calc.%d.pyc" % number: Leaf("f", b"\0") for number in range(30)})
    plant(host.workspace, {b".pytest_cache/.gitignore": Leaf("f", b"*\n"), b".pytest_cache/v/x": Leaf("f", b"1")})

    found = diff(host.tree)

    assert [entry["path"] for entry in found["entries"]] == ["calc.py"] and found["patch_complete"]
    assert found["patch"].count("diff --git") == 1 and found["summary"]["total"] == 1
    assert found["ignored_count"] == 33
    assert found["ignored"] == [".pytest_cache", "__pycache__", "old.log"]
    everything = diff(host.tree, include_ignored=True)
    assert len(everything["entries"]) == 34 and everything["ignored_count"] == 0


def test_a_new_rule_hides_no_change_of_what_the_seed_held(host: HostTree) -> None:
    plant(host.baseline, {b"src/main.py": Leaf("f", b"a\n"), b".gitignore": Leaf("f", b"*.o\n")})
    plant(host.workspace, {b"src/main.py": Leaf("f", b"evil\n"), b".gitignore": Leaf("f", b"*\n")})
    plant(host.workspace, {b"src/.gitignore": Leaf("f", b"*\n"), b"src/new.py": Leaf("f", b"evil\n")})

    found = diff(host.tree)

    assert [entry["path"] for entry in found["entries"]] == [".gitignore", "src/main.py"]
    assert (found["ignored_count"], found["ignored"]) == (2, ["src/.gitignore", "src/new.py"])


def test_text_comes_first_and_other_files_are_a_line_unless_asked_for(host: HostTree) -> None:
    plant(host.baseline, {b"a.png": Leaf("f", b"\0old"), b"text": Leaf("f", b"one\n")})
    plant(
        host.workspace, {b"a.png": Leaf("f", b"\0newer"), b"b\nb.png": Leaf("f", b"\0"), b"text": Leaf("f", b"two\n")}
    )

    found = diff(host.tree)

    assert found["patch"].startswith("diff --git a/text b/text") and "GIT binary" not in found["patch"]
    assert found["patch"].endswith(
        '# binary: "a.png", modified, bytes: 4 -> 6\n# binary: "b\\012b.png", added, bytes: none -> 1\n'
    )
    assert (found["patch_complete"], found["left_out"]) == (False, ["a.png", "b\nb.png"])
    git_apply(host.baseline, found["patch"])
    assert harvest(host.baseline) == {b"a.png": Leaf("f", b"\0old"), b"text": Leaf("f", b"two\n")}
    whole = diff(host.tree, binary=True)
    assert (whole["patch_complete"], whole["left_out"]) == (True, [])
    git_apply(host.baseline, whole["patch"])
    assert harvest(host.baseline) == harvest(host.workspace)


@pytest.mark.parametrize("rule", [b"*a" * 2000 + b"b", b"**/" * 300 + b"x" + b"/**" * 300, b"[" * 5000])
def test_a_hostile_rule_costs_bounded_time(host: HostTree, rule: bytes) -> None:
    plant(
        host.workspace,
        {b".gitignore": Leaf("f", rule + b"\n"), **{b"a" * 200 + b"/%d" % n: Leaf("f", b"") for n in range(50)}},
    )
    started = time.monotonic()

    found = diff(host.tree, patch=False)

    assert found["summary"]["total"] == 51 and time.monotonic() - started < DEADLINE
