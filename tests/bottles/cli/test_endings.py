"""However a client ends, it leaves nothing, or the next command removes what it left."""

from __future__ import annotations

import json
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


def state_now(cli: Cli) -> str:
    """Return the state of the only bottle."""
    (bottle,) = json.loads(cli("list", "--json").stdout)["bottles"]
    return str(bottle["state"])


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


def test_a_reader_that_goes_away_leaves_the_agent_with_its_work(agent: Write, cli: Cli) -> None:
    agent("exec yes")
    with subprocess.Popen(RUN, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None and client.stderr is not None
        assert client.stdout.readline().endswith(b"\n")  # perhaps not from the beginning
        client.stdout.close()
        said = client.stderr.read()

    assert client.returncode == 128 + signal.SIGPIPE
    assert b"keeps running" in said and b"claude-bottle attach web-" in said and b"Traceback" not in said
    assert state_now(cli) == "running"


def test_a_lost_connection_leaves_an_agent_without_a_terminal_with_its_work(agent: Write, cli: Cli) -> None:
    agent("echo ready; sleep 600")
    with subprocess.Popen(RUN, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None and client.stdout.readline() == b"ready\r\n"
        client.send_signal(signal.SIGHUP)
        _, said = client.communicate(timeout=30)

    assert client.returncode == 128 + signal.SIGHUP
    assert b"keeps running" in said
    assert state_now(cli) == "running"


def test_a_full_disk_under_the_output_leaves_the_agent_with_its_work(agent: Write, cli: Cli) -> None:
    agent("echo ready; sleep 600")
    with open("/dev/full", "wb") as full:
        told = subprocess.run(
            RUN, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False
        )

    assert told.returncode == 125
    assert b"keeps running" in told.stderr and b"Traceback" not in told.stderr
    assert state_now(cli) == "running"


def test_a_run_in_the_foreground_is_stopped_from_elsewhere(agent: Write, cli: Cli, home: Path) -> None:
    agent("echo ready; sleep 600")
    with subprocess.Popen(RUN, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None and client.stdout.readline() == b"ready\r\n"
        (slug,) = state.slugs()
        assert cli("stop", slug).stdout == f"{slug} is removed\n"
        _, said = client.communicate(timeout=30)

    assert client.returncode == 128 + signal.SIGKILL
    assert f"{slug} was stopped".encode() in said
    assert left(home) == []


def test_a_run_without_a_terminal_says_how_to_leave_it_in_the_background(agent: Write, cli: Cli) -> None:
    agent("true")

    assert "not a terminal: showing the output" in cli("run", "web", "--backend", "fake").stderr
