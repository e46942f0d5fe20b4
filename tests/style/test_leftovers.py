"""The check at the end of a test run sees what tests leave."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import PYTEST_FOLDER, run_leftovers


def test_a_run_that_leaves_nothing_passes(tmp_path: Path) -> None:
    (tmp_path / PYTEST_FOLDER).mkdir()

    assert run_leftovers(tmp_path) == []


def test_a_file_and_a_process_that_are_left_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with subprocess.Popen(["cat"], env={"HOME": str(tmp_path)}, stdin=subprocess.PIPE) as process:
        # Popen returns when the program has been started, so its environment is in place.
        assert run_leftovers(tmp_path) == [str(tmp_path / "file"), f"process {process.pid}: cat "]
        process.communicate()
