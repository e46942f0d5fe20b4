"""What the tests of both backends check on a host whose networks collide with those of guests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bottles import colliding_subnets
from tests.bottles.trusting import ANSWER
from tests.style.project import ROOT


def check_colliding_subnets(backend: str, environment: str, folder: Path) -> None:
    """Launch two bottles on such a host: each reaches what is allowed, and no service of the host."""
    words = [sys.executable, "-m", "tests.bottles.colliding_subnets", backend, environment]
    done = subprocess.run(
        ["unshare", "--net", "env", f"PYTHONPATH={ROOT}", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=True,
    )
    shown = json.loads(done.stdout.splitlines()[-1])
    assert len(shown) == 2
    for one in shown:
        assert f"https://{colliding_subnets.NAME}/ {ANSWER}" in one, one
        assert colliding_subnets.OF_HOST not in one
        assert one.count("failed") == len(colliding_subnets.COLLIDING), one
