"""A full disk is told as what it is, on the host and in the guest, and can be got out of."""

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


def on_a_small_disk(story: str, home: Path, warm_cache: Path, option: str) -> dict[str, Any]:
    """What a story of this folder prints whose state is on a small disk, mounted with `option`."""
    small = home / "small"
    small.mkdir(mode=0o700)
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-m", f"tests.vm.{story}", str(small), option],
        env=os.environ | {"XDG_CACHE_HOME": str(warm_cache.parent)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: run the tests as root")
def test_a_stop_whose_flush_does_not_fit_fails_and_loses_nothing(home: Path, warm_cache: Path) -> None:
    seen = on_a_small_disk("stop_on_full_disk", home, warm_cache, "size=40M")
    assert "the host's disk is full" in seen["said"] and seen["seconds"] < 60
    assert (seen["state"], seen["stopped"], seen["kept"]) == ("running", "stopped", True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: run the tests as root")
@pytest.mark.parametrize("option", ["size=60M", "nr_inodes=200,size=120M"])
def test_a_full_disk_of_the_host_is_named_soon_and_deleting_makes_room(
    home: Path, warm_cache: Path, option: str
) -> None:
    told = on_a_small_disk("full_disk_story", home, warm_cache, option)
    # So does the second command: the machine does not go on into the last free bytes.
    for said, soon in told.get("said", ()):
        assert "disk" in said and said.count("full") == 1 and soon
    assert (told["list"], told["status"]) == (["running", "running"], "running")
    assert (told["deleted"], told["other"], told["left"]) == ([True, True], "still\n", [])


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
