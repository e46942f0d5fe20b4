"""The documented workflows and the daily loop, on real guests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pyro_mcp import Pyro
from pyro_mcp.workspace_use_case_smokes import USE_CASE_SCENARIOS, run_workspace_use_case_scenario
from tests.style.project import ROOT


@pytest.mark.parametrize("scenario", USE_CASE_SCENARIOS)
def test_a_workflow_succeeds_on_real_guests(scenario: str, pyro: Pyro) -> None:
    run_workspace_use_case_scenario(scenario)

    assert pyro.list_workspaces()["count"] == 0


def test_the_daily_loop_succeeds(pyro: Pyro) -> None:
    script = ROOT / "scripts/daily_loop.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the loop is closed: nothing is left of the workspace\n")
    assert pyro.list_workspaces()["count"] == 0
