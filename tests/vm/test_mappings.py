"""Memory, threads and clocks of guest programs, which the kernel must not confuse by mapping and placing them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp.engine.interface import Shape
from tests.vm.running_vm import Vm

_SOURCE = Path(__file__).with_name("mappings.c")
_FLAGS = ("-std=gnu11", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="session")
def mappings(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The program of mappings.c."""
    program = tmp_path_factory.mktemp("mappings") / "mappings"
    subprocess.run(["cc", *_FLAGS, "-o", program, _SOURCE], check=True, timeout=60)
    return program.read_bytes()


@pytest.mark.parametrize("processors", [1, 2, 4])
def test_memory_threads_and_clocks_are_those_of_any_linux(
    start: Callable[..., Vm], mappings: bytes, processors: int
) -> None:
    vm = start(shape=Shape(mem_mib=512, vcpu_count=processors))
    vm.sh("cat >/tmp/mappings; chmod 755 /tmp/mappings", stdin=mappings)

    for task in ("heap", "sparse", "file", "barrier", "clocks", "pinned", "handover"):
        done = vm.run("/tmp/mappings", task, timeout_seconds=60)
        assert (task, done.exit_code, done.stdout, done.stderr) == (task, 0, b"right\n", b"")
    assert vm.sh("dmesg --level=emerg,alert,crit,err --notime") == ""


def test_programs_read_a_clock_that_was_set_and_those_of_a_time_namespace(vm: Vm) -> None:
    read = "import time; print(int(time.time()), int(time.clock_gettime(5)), time.monotonic() >= 100000)"

    assert vm.sh(f"date --set=@4000000000 >/dev/null; python3 -c '{read}'") == "4000000000 4000000000 False\n"
    assert vm.sh(f"unshare --time --monotonic 100000 python3 -c '{read}'").endswith(" True\n")
