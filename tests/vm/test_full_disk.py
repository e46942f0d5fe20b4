"""A full disk, on the host or in the guest, is named in the error, and work can go on once there is room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import NoSpace

pytestmark = pytest.mark.accelerators("uml", "qemu")


def on_a_small_disk(program: str, home: Path, warm_cache: Path, option: str) -> dict[str, Any]:
    """Run a program of tests.vm.full_disk on a small disk that is mounted with `option`; return what it found."""
    small = home / "small"
    small.mkdir(mode=0o700)
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-m", "tests.vm.full_disk", program, str(small), option],
        env=os.environ | {"XDG_CACHE_HOME": str(warm_cache.parent)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: run the tests as root")
def test_a_stop_whose_flush_does_not_fit_fails_and_loses_nothing(home: Path, warm_cache: Path) -> None:
    found = on_a_small_disk("stop", home, warm_cache, "size=40M")
    assert "the host's disk is full" in found["error"] and found["seconds"] < 60
    assert (found["state"], found["stopped"], found["kept"]) == ("running", "stopped", True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: run the tests as root")
@pytest.mark.parametrize("option", ["size=60M", "nr_inodes=200,size=120M"])
def test_a_full_disk_of_the_host_is_named_soon_and_deleting_makes_room(
    home: Path, warm_cache: Path, option: str
) -> None:
    found = on_a_small_disk("fill", home, warm_cache, option)
    # The second command fails too: the machine does not use the last free bytes.
    for error, soon in found.get("errors", ()):
        assert "disk" in error and error.count("full") == 1 and soon
    assert (found["list"], found["status"]) == (["running", "running"], "running")
    assert (found["deleted"], found["other"], found["left"]) == ([True, True], "still\n", [])


def test_a_full_disk_of_the_guest_is_named(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    try:
        fill = "dd if=/dev/zero of=/workspace/hog bs=1M count=20000 2>&1; df --output=avail /workspace | tail -1"
        pyro.exec_workspace(id_, command=f"fallocate -l 15500M /workspace/hog; {fill.partition(';')[2]}")
        filled = pyro.exec_workspace(id_, command="cat /dev/zero > /workspace/rest", timeout_seconds=120)
        assert "No space left on device" in filled["stderr"]
        with pytest.raises(NoSpace, match="disk is full"):
            pyro.write_workspace_file(id_, "more.txt", text="x" * 1_000_000)
    finally:
        pyro.delete_workspace(id_)
