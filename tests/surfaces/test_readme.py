"""The README's words, pasted into a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pyro_mcp import Pyro

README = (Path(__file__).parents[2] / "README.md").read_text()
DEADLINE = 120.0
TEST = (
    "import unittest\n\n\nclass Sum(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(2, 1 + 1)\n"
)


def block(beginning: str) -> str:
    """The fenced block of the README whose first line begins like this."""
    found: list[str] = re.findall(r"```\w*\n(.*?)```", README, re.DOTALL)
    [wanted] = [one for one in found if one.startswith(beginning)]
    return wanted


def pasted(text: str, folder: Path) -> str:
    """What a shell printed that stops at the first line that fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", text], cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def project(home: Path) -> Path:
    """A small Python project, and a patch for it that fits."""
    folder = home / "project"
    folder.mkdir()
    (folder / "test_sum.py").write_text(TEST)
    (folder / "fix.patch").write_text("--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+print('new')\n")
    return folder


def test_one_command_in_a_machine_of_its_own(pyro: Pyro, home: Path) -> None:
    pyro.prepare("debian:12")
    assert "git version" in pasted(block("pyro run debian:12 -- git"), project(home))


def test_work_that_lasts_longer_than_one_command(pyro: Pyro, home: Path) -> None:
    pyro.prepare("debian:12")
    folder = project(home)
    assert "+print('new')" in pasted(block("id=$(pyro workspace create debian:12 --seed-path"), folder)
    assert (folder / "result/new.py").read_text() == "print('new')\n"
    assert pyro.list_workspaces()["count"] == 0
