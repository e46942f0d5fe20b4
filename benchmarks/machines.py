"""Measure our own machines. Every function returns figures; none decides whether they are good."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Figure, installed_environ, milliseconds
from pyro_mcp import Pyro
from pyro_mcp.host.files import cache_home
from pyro_mcp.machines.commands import ExecOptions

_CLONES = 12
_STREAM_BYTES = 50_000_000
_MB = 1_000_000
_PRIVATE = re.compile(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", re.MULTILINE)


class Bench:
    """Machines of one environment, in a state folder of their own; the user's cache is read, and made warm."""

    def __init__(self, environment: str, state: Path) -> None:
        self.environment = environment
        self.pyro = Pyro(state=state)
        self.prepared = self.pyro.prepare(environment)

    def create(self) -> str:
        """Start a machine, and return its id."""
        vm_id = self.pyro.create_vm(self.environment)["vm_id"]
        self.pyro.start_vm(vm_id)
        return vm_id

    def run(self, vm_id: str, *argv: str, options: ExecOptions | None = None) -> None:
        """Run a command that must succeed. By contract `exec_vm` takes the machine down, so this goes below it."""
        done = self.pyro._vms.run(vm_id, argv, options or ExecOptions())
        if done["exit_code"] != 0:
            raise RuntimeError(f"{argv} ended with {done['exit_code']}: {done['stderr']}")

    @contextmanager
    def machine(self) -> Iterator[str]:
        """Yield a machine that has run its first command, and delete it with the block."""
        vm_id = self.create()
        try:
            self.run(vm_id, "true")
            yield vm_id
        finally:
            self.pyro.delete_vm(vm_id)


def cold_boot(environment: str, runs: int) -> Figure | None:
    """Measure the one real boot of the shape, to the agent's greeting, with a cache that lacks only the template.

    Returns None for an accelerator that has no templates, since it boots each machine.
    """
    samples = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="pyro-bench-") as folder:
            cache = Path(folder, "cache")
            cache.mkdir()
            for name in ("environments", "kernels", "disks"):
                (cache / name).symlink_to(cache_home() / name)
            samples.append(Pyro(cache=cache, state=Path(folder, "state")).prepare(environment)["cold_boot_ms"])
    return Figure("cold boot", "ms", samples) if any(samples) else None


def life(bench: Bench, runs: int) -> list[Figure]:
    """Measure create to the first command's result, reset to the first command's result, and delete."""
    first, reset, delete = [], [], []
    for _ in range(runs):
        started = time.perf_counter()
        vm_id = bench.create()
        bench.run(vm_id, "true")
        first.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        bench.pyro._vms.reset(vm_id, lambda *_: None)
        bench.run(vm_id, "true")
        reset.append((time.perf_counter() - started) * 1000)
        delete.append(milliseconds(bench.pyro.delete_vm, vm_id))
    return [
        Figure("create → first result", "ms", first, target=250),
        Figure("reset → first result", "ms", reset, target=300),
        Figure("delete", "ms", delete, target=100),
    ]


def exec_round_trip(bench: Bench, runs: int) -> Figure:
    """Measure `true` in a machine that has run it before."""
    with bench.machine() as vm_id:
        for _ in range(3):
            bench.run(vm_id, "true")
        samples = [milliseconds(bench.run, vm_id, "true") for _ in range(runs)]
    return Figure("exec 'true', round trip", "ms", samples, target=15)


def at_once(bench: Bench, runs: int) -> Figure:
    """Measure how long many machines take that are created together, until the last answers its first command."""

    def create() -> str:
        vm_id = bench.create()
        bench.run(vm_id, "true")
        return vm_id

    samples = []
    for _ in range(runs):
        with ThreadPoolExecutor(_CLONES) as pool:
            started = time.perf_counter()
            machines = list(pool.map(lambda _: create(), range(_CLONES)))
            samples.append(time.perf_counter() - started)
            list(pool.map(bench.pyro.delete_vm, machines))
    return Figure(f"{_CLONES} machines at once", "s", samples, target=2)


def private_memory(bench: Bench, runs: int) -> Figure:
    """Measure the memory of one more idle machine of 1 GiB: the pages of its processes that no other machine shares."""
    samples = []
    for _ in range(runs):
        with bench.machine(), bench.machine() as vm_id:
            samples.append(private_bytes_of_machine(bench.pyro, vm_id) / _MB)
    return Figure("private memory, idle 1 GiB", "MB", samples, target=45)


def throughput(bench: Bench, runs: int) -> list[Figure]:
    """Measure 50 MB through a command's output, and through its input."""
    sent, taken = [], []
    discard = ExecOptions(output_cap=0, on_stdout=lambda _: None)
    give = ExecOptions(stdin=bytes(_STREAM_BYTES))
    megabytes = _STREAM_BYTES / _MB
    with bench.machine() as vm_id:
        for _ in range(runs):
            out = milliseconds(lambda: bench.run(vm_id, "head", "-c", str(_STREAM_BYTES), "/dev/zero", options=discard))
            into = milliseconds(lambda: bench.run(vm_id, "tail", "-c", "1", options=give))
            sent.append(megabytes / (out / 1000))
            taken.append(megabytes / (into / 1000))
    return [
        Figure("output of a command", "MB/s", sent, more_is_better=True),
        Figure("input of a command", "MB/s", taken, more_is_better=True),
    ]


def whole_process(runs: int) -> Figure:
    """Measure `pyro --version`, from its start to its end."""
    program = Path(sys.executable).with_name("pyro")

    def version() -> None:
        environ = installed_environ()
        subprocess.run([program, "--version"], check=True, capture_output=True, timeout=60, env=environ)

    return Figure("pyro --version", "ms", [milliseconds(version) for _ in range(runs)], target=80)


def _group(leader: int) -> list[int]:
    """Return the processes of a machine: those in the process group that its first one leads."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += [int(entry.name)] if os.getpgid(int(entry.name)) == leader else []
            except ProcessLookupError:
                continue
    return found


def private_bytes_of_machine(pyro: Pyro, vm_id: str) -> float:
    """Return the memory that no other machine shares: the private pages of its processes, and their shared memory.

    A kernel that is a process keeps the guest's memory in a deleted file of a tmpfs, which several of the machine's
    processes map. Such a file counts once, with the blocks that it has: proc_pid_smaps(5), proc_pid_map_files(5).
    """
    leader = pyro._lifecycle.store.get(vm_id).pid
    assert leader is not None
    private, files = 0, dict[tuple[int, int], int]()
    for pid in _group(leader):
        try:
            text = Path(f"/proc/{pid}/smaps").read_text()
        except ProcessLookupError:
            continue
        for mapping in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", text)[1:]:
            head = mapping.splitlines()[0].split()
            if head[1].endswith("s") and mapping.splitlines()[0].endswith("(deleted)"):
                found = os.stat(f"/proc/{pid}/map_files/{head[0]}")
                files[found.st_dev, found.st_ino] = found.st_blocks * 512
            else:
                private += sum(1024 * int(kib) for kib in _PRIVATE.findall(mapping))
    return private + sum(files.values())
