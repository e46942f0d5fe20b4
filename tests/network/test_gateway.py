"""Each scenario runs in namespaces of its own, and leaves no process behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_mcp.host.programs import find_program
from pyro_mcp.network.devices.problems import network_problems
from tests.network.run_scenario import SCENARIOS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    network_problems() != [] or find_program("ip") is None, reason=f"there is no ip, or {network_problems()}"
)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_guest_behind_a_gateway(name: str, home: Path) -> None:
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.network.run_scenario", name, str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    complaints = home / "sockets" / "network.stderr"
    assert not complaints.exists() or complaints.read_text() == ""
