"""What ends a machine when its time is over, as a black box: compiled, and run on this host."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp.engine.lifetime import GUARD, deadline_file, set_lifetime

DEADLINE = 20.0
ENDLESS = ("/bin/sh", "-c", "echo begun; exec cat")


@contextmanager
def guarded(home: Path, *program: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [str(GUARD), "--signal=KILL", str(deadline_file(home)), *program]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def begin(process: subprocess.Popen[bytes]) -> None:
    """Wait until the program runs, so that its guard has read the file once."""
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"


def test_a_program_is_killed_when_its_time_is_over(home: Path) -> None:
    set_lifetime(home / "state", 0.3)
    with guarded(home / "state", *ENDLESS) as process:
        assert process.wait(DEADLINE) == 137


def test_a_time_that_was_extended_is_lived_and_then_over(home: Path) -> None:
    set_lifetime(home / "state", 1.0)
    begun = time.monotonic()
    with guarded(home / "state", *ENDLESS) as process:
        begin(process)
        set_lifetime(home / "state", 2.0)
        assert process.wait(DEADLINE) == 137
    assert time.monotonic() - begun >= 2.0


def test_a_machine_whose_folder_is_gone_ends(home: Path) -> None:
    set_lifetime(home / "state", 1.0)
    with guarded(home / "state", *ENDLESS) as process:
        begin(process)
        deadline_file(home / "state").unlink()
        assert process.wait(DEADLINE) == 137


@pytest.mark.parametrize("content", ["", "soon", "99999999999999999999999\n", "12x\n"])
def test_what_is_no_moment_changes_nothing(home: Path, content: str) -> None:
    set_lifetime(home / "state", 1.0)
    with guarded(home / "state", *ENDLESS) as process:
        begin(process)
        deadline_file(home / "state").write_text(content)
        assert process.wait(DEADLINE) == 137


def test_a_program_that_ends_by_itself_is_told_by_its_exit_code(home: Path) -> None:
    set_lifetime(home / "state", DEADLINE)
    for line, code in (("exit 7", 7), ("kill -TERM $$", 143)):
        with guarded(home / "state", "/bin/sh", "-c", line) as process:
            assert process.wait(DEADLINE) == code


@pytest.mark.parametrize("content", [None, "", "x"])
def test_nothing_is_started_without_an_end(home: Path, content: str | None) -> None:
    (home / "state").mkdir(exist_ok=True)
    if content is not None:
        deadline_file(home / "state").write_text(content)
    with guarded(home / "state", *ENDLESS) as process:
        assert process.wait(DEADLINE) == 125


def test_when_one_of_several_programs_ends_the_others_are_killed(home: Path) -> None:
    set_lifetime(home / "state", 60)
    ended = ("/bin/sh", "-c", "read word; exit 7")
    with guarded(home / "state", *ENDLESS[:2], "echo begun; exec sleep 60", "--and", *ended) as process:
        begin(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(DEADLINE) == 7
        assert process.stdout is not None
        assert process.stdout.read() == b"", "no program has the pipe any more"


def test_several_programs_are_killed_when_their_time_is_over(home: Path) -> None:
    set_lifetime(home / "state", 0.3)
    with guarded(home / "state", "/bin/sleep", "60", "--and", "/bin/sleep", "60") as process:
        assert process.wait(DEADLINE) == 137
        assert process.stdout is not None
        assert process.stdout.read() == b""


def test_a_process_that_lost_its_parent_is_killed_with_the_others(home: Path) -> None:
    set_lifetime(home / "state", 60)
    parent = ("/bin/sh", "-c", f"setsid sleep 1000 & echo $! >{home}/orphan; echo begun; exec cat >/dev/null")
    with guarded(home / "state", *parent) as process:
        begin(process)
        orphan = os.pidfd_open(int((home / "orphan").read_text()))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
        assert select.select([orphan], [], [], 0)[0], "it has ended before its guard"
        os.close(orphan)


def test_output_is_copied_up_to_a_bound_and_the_program_goes_on(home: Path) -> None:
    set_lifetime(home / "state", 60)
    words = [str(GUARD), "--signal=KILL", str(deadline_file(home / "state")), "/bin/sh", "-c"]
    flood = "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2; exit 7"
    done = subprocess.run([*words, flood], capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"x" * (1 << 20), b"")


def test_the_last_words_of_a_program_are_copied(home: Path) -> None:
    set_lifetime(home / "state", 60)
    words = [str(GUARD), "--signal=KILL", str(deadline_file(home / "state")), "/bin/sh", "-c", "echo why >&2; exit 3"]
    for _ in range(20):
        done = subprocess.run(words, capture_output=True, timeout=DEADLINE, check=False)
        assert (done.returncode, done.stdout) == (3, b"why\n")
