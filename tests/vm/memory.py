"""What is in the memory of a machine."""

from __future__ import annotations

import os
import re

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes
from tests.vm.machine import processes_of


def in_memory_of(pid: int, value: bytes) -> bool:
    """Whether a process has the value in what it has written to."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (r\S*)", line)
            if found is None or "[v" in line:
                continue
            start, end = int(found[1], 16), int(found[2], 16)
            for place in range(start, end, 1 << 24):
                if value in os.pread(memory.fileno(), min((1 << 24) + len(value), end - place), place):
                    return True
    return False


def qemu_of(pyro: Pyro, id_: str) -> int:
    """The QEMU of a workspace."""
    (leader,) = find_processes(str(pyro._lifecycle.folders.home(id_)))
    (pid,) = (pid for pid, name in processes_of(leader.pid) if name.startswith("qemu"))
    return pid
