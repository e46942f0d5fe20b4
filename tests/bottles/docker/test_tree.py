"""The tree of a bottle: the folder that is copied in, and the way back out of a container whose agent is hostile."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from pyro_mcp.errors import Conflict, InvalidRequest
from tests.bottles.docker.conftest import Shelf

DEADLINE = 120


def shell(script: str) -> list[str]:
    return ["sh", "-euc", script]


def test_a_change_is_a_patch_that_applies_to_the_folder_that_was_copied(shelf: Shelf) -> None:
    (shelf.project / "kept.txt").write_text("kept\n")
    (shelf.project / "edited.txt").write_text("one\ntwo\n")
    (shelf.project / "gone.txt").write_text("gone\n")
    (shelf.project / "run.sh").write_text("#!/bin/sh\n")
    (shelf.project / "link").symlink_to("kept.txt")
    (shelf.project / "folder").mkdir()
    os.mkfifo(shelf.project / "pipe")
    owners = "stat -c '%U %n' . kept.txt folder link"
    bottle = shelf.launch(
        shell(f"{owners}; ls; echo three >> edited.txt; rm gone.txt; chmod +x run.sh; echo new > folder/new.txt"),
        copy=True,
    )

    assert shelf.wait(bottle) == 0
    shown = bottle.output(most=4000).decode().split()
    assert shown == [
        *("agent", ".", "agent", "kept.txt", "agent", "folder", "agent", "link"),
        *("edited.txt", "folder", "gone.txt", "kept.txt", "link", "run.sh"),
    ]
    patch = bottle.diff().patch
    subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=shelf.project, check=True, timeout=DEADLINE)
    assert (shelf.project / "edited.txt").read_text() == "one\ntwo\nthree\n"
    assert (shelf.project / "folder/new.txt").read_text() == "new\n"
    assert not (shelf.project / "gone.txt").exists()
    assert os.access(shelf.project / "run.sh", os.X_OK)


def test_a_bottle_without_a_copy_begins_with_an_empty_tree(shelf: Shelf) -> None:
    (shelf.project / "secret.txt").write_text("not asked for\n")
    bottle = shelf.launch(shell("ls -A; echo made > made.txt"))

    assert shelf.wait(bottle) == 0
    assert bottle.output(most=100) == b""
    assert "+made" in bottle.diff().patch and "secret" not in bottle.diff().patch


HOSTILE = """
ln -s /etc/passwd absolute; ln -s ../../../etc up; ln -s a/../../.. winding; ln -s inside.txt good
mkfifo pipe; echo inside > inside.txt; ln inside.txt second-name; chmod 4755 inside.txt
mkdir locked; echo hidden > locked/file; chmod 000 locked
truncate -s 1T sparse; printf 'latin' > "$(printf 'caf\\351')"; printf x > "$(printf 'new\\nline')"
mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch /tmp/run\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
printf '[core]\\n\\tfsmonitor = touch /tmp/run\\n' > .git/config; echo 'ref: refs/heads/main' > .git/HEAD
mkdir .git/objects .git/refs
"""


def test_a_copy_out_of_a_hostile_tree_stays_in_its_folder(shelf: Shelf, tmp_path: Path) -> None:
    bottle = shelf.launch(shell(HOSTILE))
    assert shelf.wait(bottle) == 0, bottle.output(most=2000)

    remarks = "\n".join(bottle.export("", tmp_path / "copy"))

    copy = tmp_path / "copy"
    assert sorted(os.listdir(tmp_path)) == ["copy"]
    left_out = {"absolute", "up", "winding", "pipe"}
    assert left_out.isdisjoint(os.listdir(copy)), os.listdir(copy)
    assert all(f"/workspace/{name}" in remarks for name in left_out), remarks
    assert os.readlink(copy / "good") == "inside.txt"
    assert (copy / "second-name").read_text() == "inside\n"
    assert stat.S_IMODE((copy / "inside.txt").stat().st_mode) == 0o755
    assert (copy / "locked/file").read_text() == "hidden\n"
    assert (copy / "sparse").stat().st_size == 1 << 40 and (copy / "sparse").stat().st_blocks < 1000
    assert os.path.exists(os.fsencode(copy) + b"/caf\xe9")
    assert not (copy / ".git/hooks/pre-commit").exists()
    assert "fsmonitor" not in (copy / ".git/config").read_text()
    assert "fsmonitor" in remarks
    patch = bottle.diff().patch
    assert "+inside" in patch and "pre-commit" not in patch
    assert "+latin" in patch


def test_what_exists_is_replaced_only_when_asked_for_and_never_half(shelf: Shelf, tmp_path: Path) -> None:
    bottle = shelf.launch(shell("mkdir -p a/b; echo new > a/b/c"))
    assert shelf.wait(bottle) == 0
    target = tmp_path / "copy"
    target.mkdir()
    (target / "mine.txt").write_text("mine")

    with pytest.raises(Conflict):
        bottle.export("a", target)
    with pytest.raises(InvalidRequest):
        bottle.export("../../etc", tmp_path / "other")
    assert os.listdir(target) == ["mine.txt"]
    bottle.export("a", target, overwrite=True)
    assert (target / "b/c").read_text() == "new\n"
    assert os.listdir(tmp_path) == ["copy"]


def test_a_tree_of_very_many_files_is_copied_up_to_the_limit(shelf: Shelf, tmp_path: Path) -> None:
    program = "import os\nfor n in range(20000): open(f'{n:06}', 'w').close()"
    bottle = shelf.launch(["python3", "-c", program])
    assert shelf.wait(bottle) == 0

    assert bottle.export("", tmp_path / "copy") == []
    assert len(os.listdir(tmp_path / "copy")) == 20000
