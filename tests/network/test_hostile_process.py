"""A hostile program in the place of either process of a gateway gets no more than it was given."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyro_mcp
from pyro_mcp.host.user_ids import machine_ids
from pyro_mcp.network.devices.problems import network_problems
from tests.network import hostile_process
from tests.network.hostile_process import DEADLY

ROOT = Path(__file__).parents[2]
ORDINARY = 54321
NOTHING = (
    "make", "make or open", "read home", "read proc", "signal", "signal thread", "memfd", "pipe",
    "user", "pidfd",
)  # fmt: skip

pytestmark = pytest.mark.skipif(network_problems() != [], reason=f"{network_problems()}")


def run(role: str, home: Path, deadly: str = "") -> subprocess.CompletedProcess[str]:
    """The program in the place of `role`; its neighbour is this process."""
    ids = machine_ids(home)
    user = "" if ids is None else str(ids.relay if role == "relay" else ids.policy)
    words = [sys.executable, "-m", "tests.network.hostile_process", role, user, str(os.getpid()), deadly]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


def run_as_an_ordinary_user(role: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The same by a user who is not root, and who can read our package in `home` alone."""
    shutil.copytree(Path(pyro_mcp.__file__).parent, home / "pyro_mcp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(hostile_process.__file__), home)
    for path in (home, *home.rglob("*")):
        path.chmod(0o755)
    return subprocess.run(
        ["/usr/bin/python3", home / "hostile_process.py", role, "", str(os.getpid()), ""],
        user=ORDINARY, group=ORDINARY, extra_groups=[], cwd="/", env={"PYTHONPATH": str(home), "PATH": os.defpath},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def attacked(role: str, home: Path, runner: Callable[..., subprocess.CompletedProcess[str]] = run) -> dict[str, Any]:
    done = runner(role, home)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("role", ["relay", "policy", "confined"])
@pytest.mark.parametrize("runner", [run, run_as_an_ordinary_user], ids=["us", "an ordinary user"])
def test_a_hostile_process_gets_no_file_process_or_memory_beyond_its_own(
    role: str, runner: Callable[..., subprocess.CompletedProcess[str]], home: Path
) -> None:
    if runner is run_as_an_ordinary_user and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    found = attacked(role, home, runner)
    assert {name: found[name] for name in NOTHING if found[name] == "ok"} == {}
    assert {found[name] for name in ("shared segment", "io_uring", "program")} == {"ENOSYS"}
    assert found["memory"] <= 2048
    assert found["threads"] < 4096


def test_a_hostile_relay_process_reads_nothing_and_has_internet_sockets_in_an_empty_namespace_alone(home: Path) -> None:
    found = attacked("relay", home)
    assert found["read"] != "ok"
    assert found["sockets"] == [socket.AF_INET]


def test_a_hostile_confined_process_reads_nothing_and_makes_no_socket(home: Path) -> None:
    found = attacked("confined", home)
    assert found["read"] != "ok"
    assert found["sockets"] == []


def test_a_hostile_policy_process_has_the_sockets_that_its_work_takes(home: Path) -> None:
    wanted = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    assert set(attacked("policy", home)["sockets"]) <= wanted


@pytest.mark.parametrize("role", ["relay", "policy"])
def test_a_hostile_process_is_killed_for_what_serves_attacks_alone(role: str, home: Path) -> None:
    codes = {name: run(role, home, name).returncode for name in DEADLY}
    assert codes == dict.fromkeys(DEADLY, -signal.SIGSYS & 0xFF)


def test_a_confined_process_is_killed_for_what_serves_attacks_alone(home: Path) -> None:
    assert run("confined", home, "getpid").stdout == "survived\n"
    assert {name: run("confined", home, name).stdout for name in DEADLY} == dict.fromkeys(DEADLY, "")


def test_a_free_program_gets_nearly_all_of_it(home: Path) -> None:
    found = attacked("free", home)
    got = {name for name in NOTHING if found[name] == "ok"}
    assert {"memfd", "pipe", "pidfd", "signal", "read proc", "read home"} <= got
    assert (found["shared segment"], found["program"]) == ("EINVAL", "ENOENT")
    assert len(found["sockets"]) > 4
    assert found["memory"] > 2048
