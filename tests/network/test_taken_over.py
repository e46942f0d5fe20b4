"""A hostile program in the place of either half of a gateway gets no more than it was given."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.host.ids import machine_ids
from pyro_mcp.network import network_problems
from tests.network.taken_over import DEADLY

ROOT = Path(__file__).parents[2]
NOTHING = (
    "make", "make or open", "read home", "read proc", "signal", "signal thread", "memfd", "pipe",
    "user", "pidfd",
)  # fmt: skip

pytestmark = pytest.mark.skipif(network_problems() != [], reason=f"{network_problems()}")


def run(half: str, home: Path, deadly: str = "") -> subprocess.CompletedProcess[str]:
    """The program in the place of `half`; its neighbour is this process."""
    ids = machine_ids(home)
    user = "" if ids is None else str(ids.inner if half == "inner" else ids.outer)
    words = [sys.executable, "-m", "tests.network.taken_over", half, user, str(os.getpid()), deadly]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


def attacked(half: str, home: Path) -> dict[str, Any]:
    done = run(half, home)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("half", ["inner", "outer"])
def test_a_hostile_half_gets_no_file_process_or_memory_beyond_its_own(half: str, home: Path) -> None:
    found = attacked(half, home)
    assert {name: found[name] for name in NOTHING if found[name] == "ok"} == {}
    assert {found[name] for name in ("shared segment", "io_uring", "program")} == {"ENOSYS"}
    assert found["memory"] <= 2048
    assert found["threads"] < 4096


def test_a_hostile_inner_half_reads_nothing_and_has_internet_sockets_in_an_empty_namespace_alone(home: Path) -> None:
    found = attacked("inner", home)
    assert found["read"] != "ok"
    assert found["sockets"] == [socket.AF_INET]


def test_a_hostile_outer_half_has_the_sockets_that_its_work_takes(home: Path) -> None:
    wanted = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    assert set(attacked("outer", home)["sockets"]) <= wanted


@pytest.mark.parametrize("half", ["inner", "outer"])
def test_a_hostile_half_is_killed_for_what_serves_attacks_alone(half: str, home: Path) -> None:
    codes = {name: run(half, home, name).returncode for name in DEADLY}
    assert codes == dict.fromkeys(DEADLY, -signal.SIGSYS & 0xFF)


def test_a_free_program_gets_nearly_all_of_it(home: Path) -> None:
    found = attacked("free", home)
    got = {name for name in NOTHING if found[name] == "ok"}
    assert {"memfd", "pipe", "pidfd", "signal", "read proc", "read home"} <= got
    assert (found["shared segment"], found["program"]) == ("EINVAL", "ENOENT")
    assert len(found["sockets"]) > 4
    assert found["memory"] > 2048
