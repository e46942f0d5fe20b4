"""`claude-bottle` with machines of smolvm, with the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.backend.smolmachines.launcher import PACKED_VARIABLE
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes network namespaces: run the tests as root")


def test_one_command_corks_an_agent_into_a_machine_and_others_see_what_it_did(
    smolvm_host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, packed = smolvm_host / "project", smolvm_host / "agent.smolmachine"
    project.mkdir()
    packed.touch()
    (project / "a.txt").write_text("before\n")
    monkeypatch.setenv(PACKED_VARIABLE, str(packed))
    manifest = smolvm_host / ".config/claude-bottle/bottles.json"
    manifest.parent.mkdir(parents=True)
    agent = {"bottle": "dev", "harness": ["sh", "-c", "echo after > a.txt; echo did it; exit 4"]}
    manifest.write_text(json.dumps({"bottles": {"dev": {}}, "agents": {"fixer": agent}}))

    def cli(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "claude_bottle.cli", *words]
        return subprocess.run(
            argv, cwd=project, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )

    planned = cli("plan", "fixer", "--backend", "smolmachines", "--copy-cwd").stdout
    assert str(packed) in planned and "network namespace" in planned
    ran = cli("run", "fixer", "--backend", "smolmachines", "--copy-cwd", "-d")
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
