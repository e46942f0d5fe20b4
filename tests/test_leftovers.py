"""The check at the end of a test run sees what tests leave."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import PYTEST_FOLDER, run_leftovers
from tests.leftovers import processes_naming
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


def test_a_process_is_named_by_each_of_its_readable_files(tmp_path: Path) -> None:
    left = tmp_path / "left"
    for number, parts in enumerate((["cmdline"], ["environ"], ["cwd"], [], ["cmdline", "environ", "cwd"])):
        process = tmp_path / "proc" / str(900_000_000 + number)
        process.mkdir(parents=True)
        (process / "cmdline").write_bytes(b"cat\0%s\0" % (bytes(left) if "cmdline" in parts else b"-"))
        if "environ" in parts:
            (process / "environ").write_bytes(b"HOME=%s\0" % bytes(left))
        if "cwd" in parts:
            (process / "cwd").symlink_to(left)

    found = processes_naming(left, anywhere=True, proc=tmp_path / "proc")

    assert sorted(line.split()[1] for line in found) == ["900000000:", "900000001:", "900000002:", "900000004:"]
