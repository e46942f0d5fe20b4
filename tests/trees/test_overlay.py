"""The same on a real overlay, as a machine has it: what changed is found in the upper folder alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pyro_mcp.trees.diff import diff
from pyro_mcp.trees.files import write_file
from pyro_mcp.trees.guest_tree import GuestTree
from pyro_mcp.trees.patch import apply_patch
from pyro_mcp.trees.seed import push
from tests.trees.exporting import export
from tests.trees.host_tree import DEADLINE, HostTool
from tests.trees.test_diff import git_apply, statuses

_MOUNTS = """
mount -t tmpfs none "$1" && cd "$1" && mkdir lower upper work merged
(cd lower && eval "$2")
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=on overlay merged
echo ready
exec cat
"""


@dataclass(frozen=True)
class Overlay:
    """A tree on an overlay that only its own mount namespace sees."""

    tree: GuestTree
    tool: HostTool
    enter: list[str]
    area: Path

    def do(self, script: str) -> None:
        """Run a script in the workspace."""
        argv = [*self.enter, "sh", "-euc", 'cd "$1" && eval "$2"', "sh", str(self.area / "merged"), script]
        subprocess.run(argv, check=True, timeout=DEADLINE)


@contextmanager
def overlay(binary: Path, seed: str) -> Iterator[Overlay]:
    """An overlay whose baseline the script `seed` has made."""
    with TemporaryDirectory(prefix="pyro-overlay-") as name:
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _MOUNTS, "sh", name, seed]
        holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with holder:
            assert holder.stdin is not None and holder.stdout is not None
            try:
                assert holder.stdout.readline() == b"ready\n"
                enter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]
                tool = HostTool(binary, before=enter, compares=False)
                area = Path(name)
                tree = GuestTree(tool, merged=f"{area}/merged", baseline=f"{area}/lower", upper=f"{area}/upper")
                yield Overlay(tree, tool, enter, area)
            finally:
                holder.kill()


SEED = """
mkdir -p src/deep docs
for number in $(seq 30); do seq $number $((number * 9)) >src/f$number; done
cp src/f1 src/deep/f; ln src/f2 docs/hard; ln -s ../src docs/link; printf 'a\\0b' >docs/binary; echo text >docs/text
"""


@pytest.fixture
def seeded(tool_binary: Path) -> Iterator[Overlay]:
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(probe, check=False, capture_output=True, timeout=DEADLINE).returncode != 0:
        pytest.skip("overlays need root")
    with overlay(tool_binary, SEED) as made:
        yield made


def applied_to_seed(seed: str, patch: str, folder: Path) -> str:
    """The listing of a fresh seed after `git apply`."""
    folder.mkdir()
    subprocess.run(["sh", "-euc", seed], cwd=folder, check=True, timeout=DEADLINE)
    git_apply(folder, patch)
    return listing([], folder)


def listing(enter: list[str], folder: Path) -> str:
    """Every file and link of a tree with its content and x bit."""
    script = 'cd "$1" && find . ! -type d -printf "%p %l\\n" -type f \\( -perm -100 -printf "x\\n" -o -true \\) | sort'
    script += "&& find . -type f -exec sha256sum {} + | sort"
    argv = [*enter, "sh", "-euc", script, "sh", str(folder)]
    return subprocess.run(argv, check=True, timeout=DEADLINE, capture_output=True, text=True).stdout


def test_a_moved_folder_is_renames_whose_content_is_not_read(seeded: Overlay) -> None:
    seeded.do("mv src moved")

    found = diff(seeded.tree, include_ignored=True, binary=True)

    assert set(statuses(found).values()) == {"renamed"} and found["summary"]["renamed"] == 31
    assert seeded.tool.calls == ["changes"]
    assert {entry["old_path"]: entry["path"] for entry in found["entries"]}["src/deep/f"] == "moved/deep/f"


@pytest.mark.parametrize(
    "steps",
    [
        "mv src moved",
        "mv src moved; echo more >>moved/f3; rm moved/f4; chmod +x moved/f5",
        "mv src/deep deep; mv src docs/src; mv docs d",
        "rm -r src; mkdir src; echo new >src/f1",
        "rm -r docs; ln -s src docs",
        "rm docs/text; mkdir docs/text; echo x >docs/text/x",
        "rm src/f1; ln -s f2 src/f1; mv docs/link docs/renamed",
        "mv src a; mv docs src; mv a docs",
        "printf 'c\\0d' >docs/binary; echo one >>docs/hard; touch src/f9; chmod 700 src",
        "mv src/deep .; rm -r src; mv deep src",
        "cp -a src copy; rm -r docs",
    ],
)
def test_the_patch_makes_the_seed_into_the_workspace(seeded: Overlay, tmp_path: Path, steps: str) -> None:
    seeded.do(steps)

    found = diff(seeded.tree, include_ignored=True, binary=True)

    assert found["patch_complete"]
    assert applied_to_seed(SEED, found["patch"], tmp_path / "seed") == listing(seeded.enter, seeded.area / "merged")


def test_a_moved_folder_is_renames_also_without_a_patch(seeded: Overlay) -> None:
    seeded.do("mv src moved; echo x >new; rm docs/text")

    found = diff(seeded.tree, patch=False, include_ignored=True)

    assert (found["summary"]["renamed"], found["summary"]["added"], found["summary"]["deleted"]) == (31, 1, 1)
    assert found["patch"] == "" and seeded.tool.calls == ["changes"]


def test_edits_made_from_the_host_are_what_the_diff_shows(seeded: Overlay, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "pushed").write_text("pushed\n")
    write_file(seeded.tree, "docs/text", b"other\n")
    apply_patch(seeded.tree, "--- a/src/f1\n+++ b/src/f1\n@@ -1,2 +1,2 @@\n-1\n+one\n 2\n")
    push(seeded.tree, tmp_path / "more", "docs")

    assert statuses(diff(seeded.tree)) == {"docs/pushed": "added", "docs/text": "modified", "src/f1": "modified"}


def test_a_copy_of_an_overlay_is_what_is_seen_in_it(seeded: Overlay, tmp_path: Path) -> None:
    seeded.do("mv src moved; rm docs/text")

    export(seeded.tree, ".", tmp_path / "copy", overwrite=False)

    assert listing([], tmp_path / "copy") == listing(seeded.enter, seeded.area / "merged")
    assert not os.path.lexists(tmp_path / "copy/src")
