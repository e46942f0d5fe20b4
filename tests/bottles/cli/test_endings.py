"""However a client ends, it leaves nothing, or the next command removes what it left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from claude_bottle import state
from tests.bottles.cli.conftest import COMMAND, Cli, Write
from tests.leftovers import processes_naming
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("project")

STEPS = ("tree", "provision", "start")
RUN = [*COMMAND, "run", "web", "--backend", "fake", "--copy-cwd"]


@pytest.fixture(autouse=True)
def signals_by_default() -> Iterator[None]:
    """Let processes that a test starts end by SIGHUP; under nohup they would inherit that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@contextmanager
def paused(step: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A client whose launch waits for ever at a step."""
    monkeypatch.setenv("CLAUDE_BOTTLE_FAKE_PAUSE", step)
    with subprocess.Popen(RUN, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        monkeypatch.delenv("CLAUDE_BOTTLE_FAKE_PAUSE")
        try:
            until("the launch waits", lambda: waits_for_a_signal(client), deadline_seconds=30)
            yield client
        finally:
            client.kill()


def waits_for_a_signal(client: subprocess.Popen[bytes]) -> bool:
    """Return whether a process is in pause(2): proc_pid_syscall(5)."""
    assert client.poll() is None, f"the client ended with {client.returncode}"
    return Path(f"/proc/{client.pid}/syscall").read_text().split()[0] == "34"


def left(home: Path) -> list[str]:
    """Return the bottles and the processes of this home."""
    return [*os.listdir(state.bottles_home()), *processes_naming(home / "state")]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("ending", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)], ids=str)
def test_a_signal_at_any_step_of_a_launch_leaves_nothing(
    agent: Write, home: Path, monkeypatch: pytest.MonkeyPatch, step: str, ending: tuple[str, int]
) -> None:
    name, code = ending
    agent("sleep 600")
    with paused(step, monkeypatch) as client:
        client.send_signal(signal.Signals[name])
        _, said = client.communicate(timeout=30)

    assert client.returncode == code
    assert b"Traceback" not in said
    assert left(home) == []


@pytest.mark.parametrize("step", STEPS)
def test_the_next_command_removes_what_a_killed_client_left(
    agent: Write, home: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, step: str
) -> None:
    agent("sleep 600")
    with paused(step, monkeypatch) as client:
        client.kill()
        client.wait(30)
    assert len(left(home)) == 1

    assert "no bottles" in cli("list").stdout
    assert left(home) == []


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_run_without_a_terminal_and_its_bottle(agent: Write, home: Path, name: str, code: int) -> None:
    agent("echo ready; sleep 600")
    with subprocess.Popen(RUN, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None and client.stdout.readline() == b"ready\r\n"
        client.send_signal(signal.Signals[name])
        _, said = client.communicate(timeout=30)

    assert client.returncode == code
    assert b"Traceback" not in said
    assert left(home) == []


def test_a_reader_that_goes_away_ends_a_run_and_its_bottle(agent: Write, home: Path) -> None:
    agent("exec yes")
    with subprocess.Popen(RUN, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None and client.stderr is not None
        assert client.stdout.readline().endswith(b"\n")  # perhaps not from the beginning
        client.stdout.close()
        said = client.stderr.read()

    assert client.returncode == 128 + signal.SIGPIPE
    assert b"Traceback" not in said
    assert left(home) == []
