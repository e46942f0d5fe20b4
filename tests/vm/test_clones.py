"""Machines cloned from one template are machines of their own, and each of them ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import wait_for_end
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.errors import GuestGone
from tests.vm.running_vm import Vm

pytestmark = pytest.mark.accelerators("uml", "qemu")

_SELF_PORTRAIT = """
cat /etc/machine-id /etc/hostname
hostname
head -c 16 /dev/urandom | sha256sum
cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id
"""


def test_two_clones_differ_in_random_numbers_ids_and_host_name(pyro: Pyro) -> None:
    ids = [pyro.create_vm("debian:12")["vm_id"] for _ in range(2)]
    for vm_id in ids:
        pyro.start_vm(vm_id)

    one, other = (pyro.exec_vm(vm_id, command=_SELF_PORTRAIT)["stdout"].splitlines() for vm_id in ids)

    assert [line for line in one if line in other] == []
    assert (one[1], one[2]) == (ids[0], ids[0])


def test_the_clock_of_a_clone_is_right(vm: Vm) -> None:
    before = time.time()
    told = float(vm.sh("date +%s.%N"))

    assert before - 1 <= told <= time.time() + 1


def test_a_template_is_unchanged_by_what_its_clones_write(warm_cache: Path, start: Callable[..., Vm]) -> None:
    def saved() -> list[tuple[Path, int, int, int]]:
        found = [(path, path.stat()) for path in sorted((warm_cache / "templates").glob("*/*"))]
        # The kernel sets the change time at every write, also through a mapping, and nobody can set it back.
        return [(path, stat.st_size, stat.st_blocks, stat.st_ctime_ns) for path, stat in found]

    vm = start()
    before = saved()
    vm.sh("head -c 20M /dev/urandom >/workspace/noise; cp -a /usr/share /root/copy; sync")
    vm.run("python3", "-c", "held = bytearray(b'x') * (100 << 20); print(len(held))")

    assert saved() == before
    assert start().sh("ls /workspace /root") == "/root:\n\n/workspace:\n"


def test_twelve_clones_at_once_all_answer(start: Callable[..., Vm]) -> None:
    with ThreadPoolExecutor(12) as pool:
        machines = [one.result(timeout=120) for one in [pool.submit(start) for _ in range(12)]]
        answers = [pool.submit(vm.sh, f"echo {number}") for number, vm in enumerate(machines)]

        assert [answer.result(timeout=60) for answer in answers] == [f"{number}\n" for number in range(12)]


def test_a_guest_that_is_killed_while_a_command_runs_is_noticed_at_once(vm: Vm) -> None:
    kernel = vm.kernel
    killed: list[float] = []

    def on_stdout(_: bytes) -> None:
        os.kill(kernel, signal.SIGKILL)
        killed.append(time.monotonic())

    with pytest.raises(GuestGone):
        vm.run("sh", "-c", "echo ready; sleep 600", timeout_seconds=60, on_stdout=on_stdout)

    assert time.monotonic() - killed[0] < 30
    assert wait_for_end(vm.identity, MachineSockets(vm.sockets), deadline_seconds=10)


def test_a_machine_ends_when_its_time_is_over_though_nobody_calls(start: Callable[..., Vm]) -> None:
    vm = start(lifetime_seconds=5)

    assert wait_for_end(vm.identity, MachineSockets(vm.sockets), deadline_seconds=30)
