"""The check at the end of a test run sees what tests leave."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import PYTEST_FOLDER, run_leftovers
from tests.waiting import until


def test_a_run_that_leaves_nothing_passes(tmp_path: Path) -> None:
    (tmp_path / PYTEST_FOLDER).mkdir()

    assert run_leftovers(tmp_path) == []


def test_a_file_and_a_process_that_are_left_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with subprocess.Popen(["cat"], env={"HOME": str(tmp_path)}, stdin=subprocess.PIPE) as process:
        wanted = [str(tmp_path / "file"), f"process {process.pid}: cat "]
        # Popen may return a moment before the kernel shows the program's words and environment.
        until("both are named", lambda: run_leftovers(tmp_path), lambda left: left == wanted, deadline_seconds=10)
        process.communicate()
