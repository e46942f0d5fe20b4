"""However `pyro run` ends, its machine ends with it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.leftovers import machine_leftovers
from tests.waiting import until

Running = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def hangup_by_default() -> Iterator[None]:
    """Let processes that a test starts end by SIGHUP; under nohup they would inherit that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def running(pyro: Pyro) -> Iterator[Running]:
    """Starts `pyro run` on a shell script and returns when its first line has come."""
    pyro.prepare("debian:12")
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "pyro_mcp.cli", "run", "debian:12", "--", "sh", "-c", script]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_deletes_the_machine(running: Running, home: Path, number: int, exit_code: int) -> None:
    process = running("echo ready; sleep 600")

    process.send_signal(number)

    _, said = process.communicate(timeout=30)
    assert process.returncode == exit_code
    assert b"Traceback" not in said
    assert machine_leftovers(home) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_a_signal_deletes_a_new_workspace_that_nobody_was_told_of(pyro: Pyro, home: Path, number: int) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)  # so printing the workspace waits for a reader
    words = [sys.executable, "-m", "pyro_mcp.cli", "workspace", "create", "debian:12", "--id-only"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.DEVNULL)
    os.close(writing)

    def listed() -> object:
        _require_running(process)
        return pyro.list_workspaces()["workspaces"]

    def waits_for_a_reader() -> bool:
        _require_running(process)
        return _waits_for_a_reader(process.pid)

    until("the workspace is on record", listed, deadline_seconds=60)
    until("the command waits for a reader", waits_for_a_reader, deadline_seconds=60)
    process.send_signal(number)
    assert process.wait(timeout=30) in (130, 128 + number)
    os.close(reading)
    assert machine_leftovers(home) == []


def _require_running(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, f"the command ended with exit code {process.returncode}"


def _waits_for_a_reader(pid: int) -> bool:
    """Return whether a process is in a write(2) to its output: proc_pid_syscall(5)."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[:2] == ["1", "0x1"]


def test_a_reader_that_goes_away_deletes_the_machine(running: Running, home: Path) -> None:
    process = running("echo ready; exec yes")
    assert process.stdout is not None and process.stderr is not None

    process.stdout.close()

    assert process.wait(timeout=30) == 128 + signal.SIGPIPE
    assert process.stderr.read() == b""
    assert machine_leftovers(home) == []


def test_a_machine_that_is_killed_under_a_command_is_told_and_cleared_away(
    running: Running, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRO_ACCELERATOR", "tcg")  # the kernel that is a process has no sysrq
    process = running("echo ready; kill -9 -1; echo c >/proc/sysrq-trigger; sleep 600")

    _, said = process.communicate(timeout=60)

    assert process.returncode == 125
    assert b"the virtual machine ended" in said
    assert machine_leftovers(home) == []


def test_nohup_is_respected(pyro: Pyro) -> None:
    pyro.prepare("debian:12")
    words = [
        sys.executable,
        "-m",
        "pyro_mcp.cli",
        "run",
        "debian:12",
        "--",
        "sh",
        "-c",
        "echo ready; sleep 1; echo done",
    ]
    process = subprocess.Popen(
        ["nohup", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30)[0] == b"done\n" and process.returncode == 0


def test_a_reader_that_is_slow_gets_everything(pyro: Pyro, monkeypatch: pytest.MonkeyPatch) -> None:
    pyro.prepare("debian:12")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    words = [sys.executable, "-m", "pyro_mcp.cli", "run", "debian:12", "--", "head", "-c", "1000000", "/dev/zero"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert process.stderr is not None
    select.select([reading], [], [], 30)  # by now the pipe is full, and nobody has read
    with open(reading, "rb") as pipe:
        assert len(pipe.read()) == 1_000_000
    assert process.wait(30) == 0 and process.stderr.read() == b""
    process.stderr.close()


def test_a_closed_output_is_no_output(pyro: Pyro) -> None:
    pyro.prepare("debian:12")
    line = f'exec "{sys.executable}" -m pyro_mcp.cli run debian:12 -- echo hi >&-'
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
