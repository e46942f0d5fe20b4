"""`claude-bottle` with machines of smolvm, with the stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.backend.smolmachines import smolvm
from claude_bottle.backend.smolmachines.launcher import PACKED_VARIABLE
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes network namespaces: run the tests as root")

COMMAND = [sys.executable, "-m", "claude_bottle.cli"]
RUN = ("run", "fixer", "--backend", "smolmachines", "--copy-cwd", "-d")


@pytest.fixture
def project(smolvm_host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the agent `fixer` in the user's manifest."""
    folder, packed = smolvm_host / "project", smolvm_host / "agent.smolmachine"
    folder.mkdir()
    packed.touch()
    (folder / "a.txt").write_text("before\n")
    monkeypatch.setenv(PACKED_VARIABLE, str(packed))
    monkeypatch.chdir(folder)
    manifest = smolvm_host / ".config/claude-bottle/bottles.json"
    manifest.parent.mkdir(parents=True)
    agent = {"bottle": "dev", "harness": ["sh", "-c", "echo after > a.txt; echo did it; exit 4"]}
    manifest.write_text(json.dumps({"bottles": {"dev": {}}, "agents": {"fixer": agent}}))
    return folder


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )


@pytest.mark.usefixtures("project")
def test_one_command_corks_an_agent_into_a_machine_and_others_see_what_it_did() -> None:
    planned = cli("plan", "fixer", "--backend", "smolmachines", "--copy-cwd").stdout
    assert "agent.smolmachine" in planned and "network namespace" in planned
    ran = cli(*RUN)
    assert ran.returncode == 0, ran.stderr
    status = until(
        "the agent ends",
        lambda: json.loads(cli("status", "fixer", "--json").stdout),
        lambda found: found["state"] == "ended",
        deadline_seconds=60,
    )

    slug = status["slug"]
    logs = cli("logs", slug)
    assert "did it" in logs.stdout, logs.stderr
    assert "-before\n+after" in cli("diff", slug).stdout
    assert cli("stop", slug).returncode == 0
    assert "no bottles" in cli("list").stdout


@pytest.mark.usefixtures("project")
def test_what_a_killed_launch_has_made_is_removed_by_the_next_command() -> None:
    with subprocess.Popen([*COMMAND, *RUN], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        until("its machine runs", smolvm.machines, lambda found: any(found.values()), deadline_seconds=60)
        client.send_signal(signal.SIGKILL)

    listed = cli("list")

    assert "no bottles" in listed.stdout, listed.stderr
    assert smolvm.machines() == {}
