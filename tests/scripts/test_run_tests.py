"""`make test` runs failed tests again, and says which passed only then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LEFT_BEHIND
from tests.style.project import ROOT

FLAKY = """
from pathlib import Path
def test_flaky():
    path = Path(__file__).with_name("count")
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    assert len(path.read_text()) > 1
def test_sound():
    path = Path(__file__).with_name("sound")
    path.write_text(path.read_text() + "x" if path.exists() else "x")
"""
BROKEN = "def test_broken():\n    assert False\n"
OURS = "from tests.conftest import pytest_configure, pytest_sessionfinish, pytest_terminal_summary\n"
LEAVING = """
import tempfile
def test_leaves():
    print("folder", tempfile.gettempdir())
    open(tempfile.mkdtemp(prefix="left-") + "/inside", "x")
"""


def run(folder: Path, **texts: str) -> subprocess.CompletedProcess[str]:
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    words = [sys.executable, "-m", "scripts.run_tests", "-rP", f"--rootdir={folder}", str(folder)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_a_flaky_test_is_run_again_alone_and_named(tmp_path: Path) -> None:
    done = run(tmp_path, test_flaky=FLAKY)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("== passed only when run again:\n   test_flaky.py::test_flaky\n")
    assert (tmp_path / "sound").read_text() == "x"


def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, test_flaky=FLAKY, test_broken=BROKEN)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert done.stdout.endswith("== failed twice:\n   test_broken.py::test_broken\n")
    assert "passed only" not in done.stdout


def test_many_failures_at_once_are_not_run_again(tmp_path: Path) -> None:
    done = run(tmp_path, **{f"test_{number}": BROKEN.replace("broken", f"{number}") for number in range(6)})
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert done.stdout.endswith("== 6 tests failed; at most 5 are run again\n")
    assert done.stdout.count("test session starts") == 1


def test_tests_that_pass_are_run_once(tmp_path: Path) -> None:
    done = run(tmp_path, test_sound="def test_sound():\n    pass\n")
    assert (done.returncode, "==  " in done.stdout, done.stdout.count("session starts")) == (0, False, 1)


def test_a_test_file_that_cannot_be_read_is_no_failed_test(tmp_path: Path) -> None:
    done = run(tmp_path, test_broken="import nothing_of_this_name\n")
    assert (done.returncode, done.stdout.count("session starts")) == (pytest.ExitCode.INTERRUPTED, 1)


@pytest.mark.parametrize("also", [{}, {"test_flaky": FLAKY}], ids=["all pass", "one fails"])
def test_what_a_run_leaves_fails_it_without_a_second_one(tmp_path: Path, also: dict[str, str]) -> None:
    done = run(tmp_path, conftest=OURS, test_leaves=LEAVING, **also)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("folder "))
    try:
        assert (done.returncode, done.stdout.count("session starts")) == (LEFT_BEHIND, 1)
        left = done.stdout.split("left behind by the tests")[1]
        assert f"{line.removeprefix('folder ')}/left-" in left
        assert "\n    inside\n" in left
    finally:
        shutil.rmtree(line.removeprefix("folder "))
