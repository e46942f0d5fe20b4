"""The places that are compared, each with the same interface: this host, Docker, a machine of each accelerator."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.docker import IMAGE, Docker
from benchmarks.figures import installed_environ
from benchmarks.machines import Bench, private_bytes_of_machine
from pyro_mcp.machines.commands import ExecOptions

_SECONDS = 900.0
_MIB, _PROCESSORS = 2048, min(2, os.cpu_count() or 1)
_ACCELERATOR = "PYRO_ACCELERATOR"
_SPARES = "PYRO_SPARES"
_SPARE_SECONDS = 20.0
# Programs that read and write much at once: `head` and `tail` take longer for that in a machine than the bytes do.
_READS = ("sh", "-c", "exec cat >/dev/null")
_BLOCK = 1_000_000


class Worker(Protocol):
    """A place that stays, with the projects in its working folder."""

    def shell(self, command: str) -> str:
        """Return the output of a command that must succeed."""
        ...


class Place(Protocol):
    """Where commands run. The times are those that a caller waits."""

    name: str

    def worker(self, projects: Path) -> AbstractContextManager[Worker]:
        """Yield a place with a copy of `projects`."""
        ...


class Host:
    """This host, without any isolation."""

    name = "host"

    @contextmanager
    def worker(self, projects: Path) -> Iterator[Worker]:
        with tempfile.TemporaryDirectory(prefix="pyro-bench-") as folder:
            copy = Path(folder, "projects")
            shutil.copytree(projects, copy, symlinks=True)
            yield _HostWorker(copy)


class _HostWorker:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def shell(self, command: str) -> str:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "LANG": "C.UTF-8"}
        return _output(["/bin/sh", "-c", command], cwd=self._folder, env=environ)


class Containers:
    """Docker, with the root files of the machines, its own limits off, and no network."""

    name = "docker"
    _ALONE = ("--network=none", "--pull=never")

    def __init__(self, docker: Docker) -> None:
        self._docker = docker

    def first_result(self) -> tuple[float, float]:
        return self.command_line(), 0.0

    def command_line(self) -> float:
        return _seconds(lambda: self._docker("run", "--rm", *self._ALONE, IMAGE, "true"))

    def many(self, count: int) -> float:
        with ThreadPoolExecutor(count) as pool:
            return _seconds(lambda: list(pool.map(lambda _: self.command_line(), range(count))))

    @contextmanager
    def container(self) -> Iterator[ContainerWorker]:
        """Yield a container that waits."""
        container = self._docker("run", "--detach", *self._ALONE, IMAGE, "sleep", "7200")
        try:
            yield ContainerWorker(self._docker, container)
        finally:
            self._docker("rm", "--force", container)

    def removal(self) -> float:
        """Return the seconds in which a running container is removed."""
        container = self._docker("run", "--detach", *self._ALONE, IMAGE, "sleep", "7200")
        return _seconds(lambda: self._docker("rm", "--force", container))

    @contextmanager
    def worker(self, projects: Path) -> Iterator[Worker]:
        with self.container() as container:
            container.shell("mkdir -p /workspace")
            self._docker("cp", f"{projects}/.", f"{container.id}:/workspace")
            yield container


class ContainerWorker:
    """One container, in which commands run in /workspace."""

    def __init__(self, docker: Docker, id_: str) -> None:
        self._docker = docker
        self.id = id_

    def shell(self, command: str) -> str:
        # A login shell of the image would set other variables than a machine's command has.
        return self._docker("exec", self.id, "/bin/sh", "-c", f"cd /workspace 2>/dev/null; {command}")

    def true(self) -> float:
        """Return the seconds of `docker exec … true`."""
        return _seconds(lambda: self._docker("exec", self.id, "true"))

    def output(self, size: int) -> float:
        """Return the seconds in which a command's output of `size` bytes arrives."""
        return _seconds(lambda: self._docker.discard("exec", self.id, *_writes(size)))

    def input(self, size: int) -> float:
        """Return the seconds in which a command has read `size` bytes."""
        data = bytes(size)
        return _seconds(lambda: self._docker.give(data, "exec", "-i", self.id, *_READS))


class Machines:
    """Machines of one accelerator, with a state folder of their own, and no spare unless one is asked for."""

    def __init__(self, accelerator: str, environment: str, state: Path) -> None:
        self.name = accelerator
        self._environment = environment
        self._state = state
        with self._chosen():
            self._bench = Bench(environment, state / "pyro-mcp")

    @contextmanager
    def _chosen(self, *, spares: bool = False) -> Iterator[None]:
        """Let the block use this accelerator; blocks of different accelerators never run at the same time."""
        before = {name: os.environ.get(name) for name in (_ACCELERATOR, _SPARES)}
        os.environ.update({_ACCELERATOR: self.name, _SPARES: "600" if spares else "0"})
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value

    def first_result(self) -> tuple[float, float]:
        with self._chosen():
            started = time.perf_counter()
            vm_id = self._bench.create()
            self._bench.run(vm_id, "true")
            made = time.perf_counter() - started
            return made, _seconds(lambda: self._bench.pyro.delete_vm(vm_id))

    def awaits_spare(self) -> bool:
        """Return whether a spare machine is there after a while; order one if there is none."""
        with self._chosen(spares=True):
            if not self._has_spare():
                self._bench.pyro.delete_vm(self._bench.create())
            end = time.monotonic() + _SPARE_SECONDS
            while not self._has_spare() and time.monotonic() < end:
                time.sleep(0.05)
            return self._has_spare()

    def _has_spare(self) -> bool:
        return bool(self._bench.pyro._spares.listed(self._bench.pyro._engine))

    def first_result_with_spare(self) -> float:
        """Return the seconds from a create that takes a spare, which is there, to the result of `true`."""
        with self._chosen(spares=True):
            started = time.perf_counter()
            vm_id = self._bench.create()
            self._bench.run(vm_id, "true")
            took = time.perf_counter() - started
            self._bench.pyro.delete_vm(vm_id)
            return took

    def remove_spares(self) -> None:
        """Remove the spares that were ordered."""
        with self._chosen():
            self._bench.pyro.reap_expired()

    def command_line(self) -> float:
        with self._chosen():
            program = Path(".venv/bin/pyro").absolute()
            environ = installed_environ() | {"XDG_STATE_HOME": str(self._state)}
            return _seconds(lambda: _output([str(program), "run", self._environment, "--", "true"], env=environ))

    def many(self, count: int) -> float:
        made: list[str] = []

        def create(_: int) -> None:
            vm_id = self._bench.create()
            made.append(vm_id)
            self._bench.run(vm_id, "true")

        with self._chosen(), ThreadPoolExecutor(count) as pool:
            try:
                return _seconds(lambda: list(pool.map(create, range(count))))
            finally:
                list(pool.map(self._bench.pyro.delete_vm, made))

    def idle_memory(self) -> float:
        """Return the bytes of memory that one more idle machine of 1 GiB takes."""
        with self._chosen(), self._bench.machine(), self._bench.machine() as vm_id:
            return private_bytes_of_machine(self._bench.pyro, vm_id)

    @contextmanager
    def machine(self) -> Iterator[MachineWorker]:
        """Yield a machine that has run its first command."""
        with self._chosen():
            context = self._bench.machine()
            vm_id = context.__enter__()
        try:
            yield MachineWorker(self, vm_id)
        finally:
            with self._chosen():
                context.__exit__(None, None, None)

    @contextmanager
    def worker(self, projects: Path) -> Iterator[Worker]:
        pyro = self._bench.pyro
        with self._chosen():
            made = pyro.create_workspace(self._environment, seed_path=projects, vcpu_count=_PROCESSORS, mem_mib=_MIB)
        try:
            yield _WorkspaceWorker(self, made["workspace_id"])
        finally:
            with self._chosen():
                pyro.delete_workspace(made["workspace_id"])


class MachineWorker:
    """One machine below the workspaces: the shortest way to a command."""

    def __init__(self, machines: Machines, vm_id: str) -> None:
        self._machines = machines
        self._vm_id = vm_id

    def true(self) -> float:
        """Return the seconds of `true`."""
        return self._run("true")

    def output(self, size: int) -> float:
        """Return the seconds in which a command's output of `size` bytes arrives."""
        options = ExecOptions(output_cap=0, on_stdout=lambda _: None)
        return self._run(*_writes(size), options=options)

    def input(self, size: int) -> float:
        """Return the seconds in which a command has read `size` bytes."""
        return self._run(*_READS, options=ExecOptions(stdin=bytes(size)))

    def _run(self, *argv: str, options: ExecOptions | None = None) -> float:
        with self._machines._chosen():
            return _seconds(lambda: self._machines._bench.run(self._vm_id, *argv, options=options))


class _WorkspaceWorker:
    def __init__(self, machines: Machines, id_: str) -> None:
        self._machines = machines
        self._id = id_

    def shell(self, command: str) -> str:
        with self._machines._chosen():
            pyro = self._machines._bench.pyro
            done = pyro.exec_workspace(self._id, command=command, timeout_seconds=_SECONDS)
        if done["exit_code"] != 0:
            raise RuntimeError(f"{command} on {self._machines.name}: {done['exit_code']}\n{done['stdout']}")
        return done["stdout"]


def _writes(size: int) -> tuple[str, ...]:
    return ("dd", "if=/dev/zero", f"bs={_BLOCK}", f"count={size // _BLOCK}", "status=none")


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _output(argv: Sequence[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        argv, check=False, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
    )
    if done.returncode != 0:
        raise RuntimeError(f"{argv} ended with {done.returncode}: {(done.stdout + done.stderr).decode()[-2000:]}")
    return done.stdout.decode()
