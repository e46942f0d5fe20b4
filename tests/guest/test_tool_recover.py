"""What guest/TREE.md promises of an `apply` that is killed between two of its steps: as before or as after."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyro_mcp.guest_protocol.frames import encode
from tests.guest.conftest import BUILD
from tests.guest.tool import DEADLINE, TYPE_NUMBERS, Tool, edit

Tree = dict[bytes, tuple[str, int, bytes]]
LONG = b"/".join([b"n" * 250] * 18)
EDITS = [
    edit(b"a/b/c", "f", b"new"),
    edit(b"file", "f", b"new"),
    edit(b"file", "f", b"newer"),
    edit(b"link", "f", b"new"),
    edit(b"to", "l", TARGET=b"file"),
    edit(b"script", "m", MODE=0o700),
    edit(b"folder", "x"),
    edit(b"folder", "d", MODE=0o711),
    edit(b"folder/file", "f", b"new"),
    edit(b"gone", "x"),
]
LONG_PATH = [edit(LONG, "f", b"new"), edit(b"gone", "x")]
REPLACING = [edit(b"folder", "f", b"new"), edit(b"file", "d"), edit(b"link", "l", TARGET=b"to"), edit(b"gone", "x")]
SINGLE = [edit(b"x/y/z", "f", b"new")]
REFUSED = [*EDITS, edit(b"nothing/there", "x")]


@dataclass(frozen=True)
class Mortal:
    """A tool that can be killed at each of its changes."""

    binary: Path
    preloaded: Path

    def __call__(self, *words: str | Path, dies_at: int, stdin: bytes = b"") -> bool:
        """Run the tool; whether it was killed."""
        died = self.preloaded.with_suffix(".died")
        died.unlink(missing_ok=True)
        environment = {"LD_PRELOAD": str(self.preloaded), "DIES_AT": str(dies_at), "DIED": str(died)}
        argv: list[str | Path] = [self.binary, *words]
        subprocess.run(argv, input=stdin, capture_output=True, env=environment, timeout=DEADLINE, check=False)
        return died.exists()


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Mortal:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("mortal")
    source = Path(__file__).parent / "dying.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", folder / "dying.so", source], check=True, timeout=60)
    environment = os.environ | {"CC": "gcc", "CFLAGS": "-g"}
    subprocess.run([BUILD, "tool", folder / "tool"], env=environment, check=True, timeout=120)
    return Mortal(folder / "tool", folder / "dying.so")


def plant(root: Path) -> None:
    """The tree that the edits change."""
    shutil.rmtree(root)
    (root / "folder/sub").mkdir(parents=True)
    for name in ("folder/file", "folder/sub/file", "file", "script", "real", "gone"):
        (root / name).write_text(f"old {name}")
    (root / "link").symlink_to("real")


def left(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if path.name.startswith(".pyro-")]


@pytest.mark.parametrize("case", ["edits", "replacing", "single", "refused", "long"])
def test_an_apply_killed_at_any_step_is_as_before_or_as_after_once_recovered(
    tool: Tool, mortal: Mortal, root: Path, case: str
) -> None:
    edits = {"edits": EDITS, "replacing": REPLACING, "single": SINGLE, "refused": REFUSED, "long": LONG_PATH}[case]
    words: list[str | Path] = ["apply", *(["--replace"] if case == "replacing" else []), root]
    stdin = b"".join(edits) + encode(TYPE_NUMBERS["COMMIT"])
    plant(root)
    before = tool.entries(root, b"")
    mortal(*words, dies_at=0, stdin=stdin)
    after = tool.entries(root, b"")
    outcomes: list[Tree] = []
    halves = 0
    moment = 0
    killed = True
    while killed:
        moment += 4 if case == "long" else 1
        plant(root)
        killed = mortal(*words, dies_at=moment, stdin=stdin)
        halves += tool.entries(root, b"") not in (before, after)
        assert tool("recover", root).code == 0
        outcomes.append(tool.entries(root, b""))
        assert left(root) == []
        assert outcomes[-1] in (before, after), moment
    assert halves > 1
    assert outcomes[0] == before and outcomes[-1] == after
    assert sorted(outcomes, key=lambda tree: tree == after) == outcomes


def test_a_recovery_killed_at_any_step_goes_on_where_it_was(tool: Tool, mortal: Mortal, root: Path) -> None:
    stdin = b"".join(EDITS) + encode(TYPE_NUMBERS["COMMIT"])
    plant(root)
    before = tool.entries(root, b"")
    moment = 0
    killed = True
    while killed:
        moment += 1
        plant(root)
        assert mortal("apply", root, dies_at=20, stdin=stdin)
        assert tool.entries(root, b"") != before
        killed = mortal("recover", root, dies_at=moment)
        assert tool("recover", root).code == 0
        assert (tool.entries(root, b""), left(root)) == (before, []), moment
    assert moment > 10


def test_the_next_apply_puts_back_what_a_killed_one_has_done(tool: Tool, mortal: Mortal, root: Path) -> None:
    plant(root)
    assert mortal("apply", root, dies_at=20, stdin=b"".join(EDITS) + encode(TYPE_NUMBERS["COMMIT"]))
    assert tool.apply(root, edit(b"one", "f", b"new")).code == 0
    assert (root / "one").read_text() == "new"
    assert (root / "file").read_text() == "old file" and not (root / "a").exists()


@pytest.mark.parametrize(
    "note",
    ["2 0 0 0 ../outside/new", "2 0 0 0 /outside/new", "2 0 0 0 out/new", "0 1 0 0 ../outside/secret",
     "0 1 0 0 out/secret", "3 0 777 0 out/secret", "3 0 777 0 out", "3 0 777 0 ..", "3 0 77777 0 file",
     "9 0 0 0 file", "2 0 0 0 .pyro-staging-0123456789abcdef/x", "2 0 0 0", "2 0 0 0 ", "x", "2 99999999999 0 0 f"],
)  # fmt: skip
def test_a_forged_note_reaches_nothing_outside(tool: Tool, root: Path, note: str) -> None:
    staging = root / ".pyro-staging-0123456789abcdef"
    staging.mkdir()
    (staging / "0").write_text("forged")
    (staging / "note-0-0").symlink_to(note)
    (root / "out").symlink_to("../outside")
    (root / "file").write_text("kept")
    outside = tool.entries(root.parent, b"outside")
    tool("recover", root)
    assert tool.entries(root.parent, b"outside") == outside
    assert (root / "file").read_text() == "kept" and (root / "file").stat().st_mode & 0o7777 == 0o644


def test_a_note_that_names_many_steps_undoes_only_those_that_were_taken(tool: Tool, mortal: Mortal, root: Path) -> None:
    plant(root)
    for number in range(300):
        (root / f"{number}").write_text("old")
    before = tool.entries(root, b"")
    stdin = b"".join(edit(b"%d" % number, "f", b"new") for number in range(600)) + encode(TYPE_NUMBERS["COMMIT"])
    for moment in (2, 3, 150, 450, 606):
        assert mortal("apply", root, dies_at=moment, stdin=stdin)
        assert len(list(root.glob(".pyro-*/note-*"))) < 10
        assert tool("recover", root).code == 0
        assert (tool.entries(root, b""), left(root)) == (before, [])
