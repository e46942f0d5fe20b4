"""Groups that bound the memory of several processes together, where this host lets us make them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp.engine.lifetime import GUARD, deadline_file, set_lifetime
from pyro_mcp.host import control_groups
from pyro_mcp.host.control_groups import make_group, remove_group

MIB = 1 << 20
DEADLINE = 60.0
# Processes that take memory one after the other, each less than the bound, and keep it.
TAKE = (
    "import os\nfor i in range(8):\n  if os.fork() == 0:\n    kept = bytearray(32 << 20); os.read(0, 1); os._exit(0)\n"
)


@pytest.fixture
def group() -> Iterator[Path]:
    made = make_group(128 * MIB, 50)
    if made is None:
        pytest.skip("no control group for memory can be made here")
    yield made
    remove_group(made)


def test_processes_that_take_more_together_are_killed(group: Path, home: Path) -> None:
    set_lifetime(home / "state", DEADLINE)
    take = [sys.executable, "-c", TAKE + "\nfor i in range(8): print(os.wait()[1], flush=True)"]
    words = [str(GUARD), "--signal=KILL", str(deadline_file(home / "state")), f"group={group}", *take]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline() or signal.SIGKILL) == signal.SIGKILL
        process.kill()


def test_without_memory_an_expendable_program_is_killed_and_its_neighbour_is_not(group: Path, home: Path) -> None:
    set_lifetime(home / "state", DEADLINE)
    guard = [str(GUARD), "--signal=KILL", str(deadline_file(home / "state")), f"group={group}"]
    keep = "kept = bytearray(100 << 20); print('here', flush=True); input()"
    take = "print('here', flush=True); kept = [bytearray(4 << 20) for _ in range(100)]"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*guard, sys.executable, "-c", keep], **pipes) as neighbour:  # type: ignore[call-overload]
        assert neighbour.stdout.readline() == b"here\n"
        taker = subprocess.run([*guard, "expendable", sys.executable, "-c", take], timeout=DEADLINE, check=False)
        assert taker.returncode == 128 + signal.SIGKILL
        assert neighbour.poll() is None, "it is by far the larger"
        neighbour.communicate(b"\n", timeout=DEADLINE)
        assert neighbour.returncode == 0


def test_the_same_processes_without_a_group_go_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TAKE + "print(all(os.wait()[1] == 0 for _ in range(8)))"],
        input=b"", capture_output=True, timeout=DEADLINE, check=True,
    )  # fmt: skip
    assert done.stdout == b"True\n"


def test_a_group_is_removed_when_its_processes_have_ended(group: Path) -> None:
    child = os.fork()
    if child == 0:
        (group / "cgroup.procs").write_text("0")
        signal.pause()
    while str(child) not in (group / "cgroup.procs").read_text().split():
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    remove_group(group, deadline_seconds=0.1)
    assert group.exists(), "it has a process"
    os.kill(child, signal.SIGKILL)
    remove_group(group)
    assert not group.exists()
    os.waitpid(child, 0)


@pytest.mark.usefixtures("group")
def test_groups_that_were_left_are_removed_but_not_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_groups, "_PREFIX", f"pyro-test-{os.getpid()}-")
    first, second = make_group(MIB, 5), make_group(MIB, 5)
    assert first is not None
    assert second is not None
    assert first.exists(), "it is new"
    monkeypatch.setattr(control_groups, "_YOUNG_SECONDS", -1.0)
    third = make_group(MIB, 5)
    assert third is not None
    assert not first.exists()
    assert not second.exists()
    remove_group(third)


def test_a_program_whose_group_is_gone_is_not_started(home: Path) -> None:
    set_lifetime(home / "state", DEADLINE)
    words = [str(GUARD), "--signal=KILL", str(deadline_file(home / "state")), f"group={home}", "/bin/echo", "started"]
    done = subprocess.run(words, capture_output=True, timeout=DEADLINE, check=False)
    assert done.returncode == 127
    assert b"started" not in done.stdout
