"""The gateway through which programs run on the host."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, HostToolMissing, Interrupted, NoSpace
from pyro_mcp.host.process import Limits, replay_line, run
from pyro_mcp.host.programs import PACKAGE_OF, find_program, require_program

SH = "/bin/sh"
DEADLINE = 20.0


def shell(line: str, **more: object) -> bytes:
    return run([SH, "-c", line], **{"deadline_seconds": DEADLINE} | more).stdout  # type: ignore[arg-type]


def test_both_streams_come_back_as_bytes() -> None:
    completed = run([SH, "-c", r"printf '\377out'; printf err >&2"], deadline_seconds=DEADLINE)
    assert (completed.stdout, completed.stderr) == (b"\xffout", b"err")


def test_input_is_what_was_given_or_nothing() -> None:
    assert shell("cat") == b""
    assert shell("cat", stdin=b"x" * 1_000_000) == b"x" * 1_000_000
    assert shell("true", stdin=b"x" * 1_000_000) == b""


def test_a_program_reads_a_file_itself(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"from a file")
    with open(tmp_path / "input", "rb") as file:
        assert shell("cat", stdin=file) == b"from a file"


def test_output_is_passed_on_in_pieces_and_an_error_of_the_receiver_ends_the_program(tmp_path: Path) -> None:
    pieces: list[bytes] = []
    assert shell("head -c 300000 /dev/zero", on_stdout=pieces.append) == b""
    assert b"".join(pieces) == bytes(300_000)

    def refuse(_: bytes) -> None:
        raise ValueError("refused")

    started = time.monotonic()
    with pytest.raises(ValueError, match="refused"):
        shell(f"echo $$ > {tmp_path}/pid; echo now; exec sleep 60", on_stdout=refuse)
    assert time.monotonic() - started < 50
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_an_exit_code_is_returned_where_it_is_no_failure() -> None:
    ended = run([SH, "-c", "echo out; echo err >&2; exit 3"], deadline_seconds=DEADLINE, check=False)
    assert (ended.exit_code, ended.stdout, ended.stderr) == (3, b"out\n", b"err\n")


def test_lines_of_stderr_are_passed_on_as_they_come() -> None:
    seen: list[str] = []
    assert shell("echo one >&2; cat; printf 'tw\\303' >&2", stdin=b"through", on_stderr_line=seen.append) == b"through"
    assert seen == ["one", "tw�"]


def test_a_program_sees_only_what_it_may_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("LD_PRELOAD_LIKE", "x")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid")
    seen = run(["/usr/bin/env"], deadline_seconds=DEADLINE, extra_environment={"EXTRA": "1"}).stdout.decode().split()
    names = {line.partition("=")[0] for line in seen}
    assert {"EXTRA", "LC_ALL", "PATH", "https_proxy"} <= names
    assert not names & {"SECRET_TOKEN", "LD_PRELOAD_LIKE"}


def test_a_failure_says_how_and_what_and_can_be_replayed() -> None:
    argv = [SH, "-c", "echo 'what it said' >&2; exit 3"]
    with pytest.raises(HostCommandFailed, match=r"sh failed with exit code 3:\nwhat it said") as raised:
        run(argv, deadline_seconds=DEADLINE)
    line = raised.value.hint.removeprefix("replay: ")
    assert shlex.split(line) == argv
    replayed = subprocess.run([SH, "-c", line], check=False, timeout=DEADLINE, capture_output=True)
    assert (replayed.returncode, replayed.stderr) == (3, b"what it said\n")


def test_a_failure_without_words_says_that() -> None:
    with pytest.raises(HostCommandFailed, match="printed nothing"):
        shell("exit 1")
    with pytest.raises(HostCommandFailed, match="killed by SIGTERM"):
        shell("kill -TERM $$")


def test_of_a_long_complaint_the_end_is_told() -> None:
    with pytest.raises(HostCommandFailed) as raised:
        shell("seq 100000 >&2; exit 1")
    assert raised.value.message.splitlines()[1:] == [str(number) for number in range(99989, 100001)]


@pytest.mark.parametrize("words", ["write: No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_told_as_such(words: str) -> None:
    with pytest.raises(NoSpace):
        shell(f"echo '{words}' >&2; exit 1")


def test_the_same_words_without_a_failure_are_no_error() -> None:
    assert shell("echo 'No space left on device' >&2") == b""


@pytest.mark.parametrize("by_line", [False, True])
def test_at_the_deadline_the_whole_group_is_killed(by_line: bool) -> None:
    reader, writer = os.pipe()
    more = {"on_stderr_line": lambda _: None} if by_line else {}
    with open(reader, "rb") as witness:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s: /bin/sh -c"):
            shell("trap '' TERM; sleep 50 & sleep 50 & wait", deadline_seconds=0.2, pass_fds=(writer,), **more)
        os.close(writer)
        assert select.select([witness], [], [], DEADLINE)[0]
        assert witness.read() == b""


@pytest.mark.parametrize("by_line", [False, True])
def test_a_child_that_fled_from_the_group_does_not_outlast_the_deadline(by_line: bool, tmp_path: Path) -> None:
    started, note = time.monotonic(), tmp_path / "pid"
    more = {"on_stderr_line": lambda _: None} if by_line else {}
    fleeing = f"setsid sh -c 'echo $$ >{note}.new; mv {note}.new {note}; exec sleep 100'; true"
    try:
        with pytest.raises(DeadlineExceeded):
            shell(fleeing, deadline_seconds=1, **more)
        assert time.monotonic() - started < 50
    finally:
        os.kill(int(note.read_text()), signal.SIGKILL)


def test_an_error_in_the_callback_kills_the_program() -> None:
    reader, writer = os.pipe()

    def fail(_: str) -> None:
        raise ZeroDivisionError

    with open(reader, "rb") as witness:
        with pytest.raises(ZeroDivisionError):
            shell("echo x >&2; sleep 50", pass_fds=(writer,), on_stderr_line=fail)
        os.close(writer)
        assert select.select([witness], [], [], DEADLINE)[0]


def test_only_the_descriptors_that_were_passed_are_inherited() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    with open(reader, "rb"), open(writer, "wb"):
        seen = shell("ls /proc/self/fd", pass_fds=(writer,)).split()
    assert str(writer).encode() in seen
    assert str(reader).encode() not in seen


def test_an_argument_is_never_a_shells() -> None:
    assert run(["/bin/echo", "$HOME; `id` *"], deadline_seconds=DEADLINE).stdout == b"$HOME; `id` *\n"
    assert replay_line(["a b", "$x"]) == "'a b' '$x'"


@pytest.mark.parametrize("tool", sorted(PACKAGE_OF))
def test_a_missing_tool_names_its_package(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("pyro_mcp.host.programs.SYSTEM_DIRECTORIES", str(tmp_path))
    assert find_program(tool) is None
    with pytest.raises(HostToolMissing, match=tool) as raised:
        run([tool], deadline_seconds=DEADLINE)
    assert raised.value.hint.endswith(f" {PACKAGE_OF[tool]}")


def test_a_program_that_is_not_there_is_told_as_missing() -> None:
    with pytest.raises(HostToolMissing, match="/no/such/program"):
        run(["/no/such/program"], deadline_seconds=DEADLINE)


def test_tools_of_the_system_are_found_without_sbin_in_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    assert require_program("mke2fs").is_absolute()


def test_a_program_over_its_limits_fails(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=1 << 30, cpu_seconds=1, file_bytes=4096)

    with pytest.raises(HostCommandFailed, match=r"SIGXCPU|SIGKILL"):
        shell("while :; do :; done", limits=limits)
    with pytest.raises(HostCommandFailed):
        shell(f"head -c 9000 /dev/zero > {tmp_path}/file", limits=limits)
    assert (tmp_path / "file").stat().st_size == 4096


def test_a_program_is_killed_when_its_interrupt_becomes_readable() -> None:
    reader, writer = os.pipe()
    leave, left = os.pipe()
    with open(reader, "rb") as witness, open(leave, "rb") as interrupt:
        with pytest.raises(Interrupted):
            run(
                [SH, "-c", "echo ready; sleep 50 & exec sleep 50"],
                deadline_seconds=DEADLINE,
                on_stdout=lambda _: os.close(left),
                interrupt=interrupt.fileno(),
                pass_fds=(writer,),
            )
        os.close(writer)
        assert select.select([witness], [], [], DEADLINE)[0]


def test_an_interrupt_that_never_comes_changes_nothing() -> None:
    never, kept = os.pipe()
    with open(never, "rb") as interrupt, open(kept, "wb"):
        assert shell("cat", stdin=b"all", interrupt=interrupt.fileno()) == b"all"
