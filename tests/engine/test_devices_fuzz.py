"""Nothing that a hostile kernel sends makes `cage/devices.c` touch memory that is not its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SECONDS = 8

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc, which builds the program, is not installed")


def test_hostile_requests_rings_and_memory_end_the_program_in_order(tmp_path: Path) -> None:
    program = tmp_path / "devices"
    flags = ["-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    subprocess.run(["gcc", *flags, "-o", program, ROOT / "cage" / "devices.c"], check=True, timeout=120)
    seed = int.from_bytes(os.urandom(4), "big")
    words = [sys.executable, "-m", "tests.engine.devices_fuzz", str(program), str(seed), str(SECONDS)]
    spaces = ["unshare", "--net"] if os.getuid() == 0 else []  # a tap device needs a network of its own
    done = subprocess.run([*spaces, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    assert "fault" not in ends, ends
    assert ends["1"] >= 10, "runs that a broken request ended"
    if os.getuid() == 0 and os.path.exists("/dev/net/tun"):
        assert ends["with a network"] >= 10
