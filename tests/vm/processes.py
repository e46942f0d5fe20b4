"""The host processes of a machine: which there are, what is in their memory, and their end."""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pyro_mcp.engine.processes import find_processes
from pyro_mcp.host.files import state_home

_DEADLINE_SECONDS = 10.0
_READ_BYTES = 1 << 24


def processes_in_group(group: int) -> Iterator[tuple[int, str]]:
    """Yield the number and the name of every process in a process group that has not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = path.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, its_group, *_ = after.split()
        if state not in "ZX" and int(its_group) == group:
            yield int(path.parent.name), before.partition("(")[2]


def processes_of(leader: int) -> dict[str, int]:
    """Return the numbers of a machine's processes, its leader's descendants, by their names; of equal names, one."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            before, _, after = path.read_text().rpartition(")")
            state, parent, *_ = after.split()
            if state not in "ZX":
                parents[int(path.parent.name)], names[int(path.parent.name)] = int(parent), before.partition("(")[2]
    found = {leader}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {names[pid]: pid for pid in found if pid in names}


def kernel_process(leader: int) -> int:
    """Return the process that executes the guest's kernel: QEMU, or on `uml` the kernel itself."""
    (pid,) = (pid for name, pid in processes_of(leader).items() if name == "kernel" or name.startswith("qemu-system"))
    return pid


def home_of(id_: str) -> Path:
    """Return the folder that holds the files of a machine or workspace in the default state folder."""
    return state_home() / "machines" / id_


def kernel_below(folder: Path) -> int:
    """Return the process that executes the guest's kernel, of the only machine whose files are below `folder`."""
    (leader,) = find_processes(str(folder))
    return kernel_process(leader.pid)


def kill_machines_below(folder: Path) -> None:
    """Kill every process of the machines whose files are below `folder`, as a power cut would; await their end.

    Fail when no machine runs there: the test would prove nothing.
    """
    leaders = find_processes(str(folder))
    assert leaders, f"no machine runs below {folder}"
    for leader in leaders:
        ended = os.pidfd_open(leader.pid)
        os.killpg(leader.pid, signal.SIGKILL)
        assert select.select([ended], [], [], _DEADLINE_SECONDS)[0], (
            f"process {leader.pid} was killed and has not ended"
        )
        os.close(ended)


def memory_holds(pid: int, value: bytes) -> bool:
    """Return whether `value` is in the readable memory of a process."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (r\S*)", line)
            if found is None or "[v" in line:
                continue
            start, end = int(found[1], 16), int(found[2], 16)
            for offset in range(start, end, _READ_BYTES):
                if value in os.pread(memory.fileno(), min(_READ_BYTES + len(value), end - offset), offset):
                    return True
    return False
