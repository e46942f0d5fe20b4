"""The programs of a machine run in cages, seen from outside: QEMU, and the three of a kernel that is a process."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyro_mcp.host.control_groups import make_group, remove_group
from pyro_mcp.host.user_ids import machine_ids
from tests.vm.processes import processes_in_group, processes_of
from tests.vm.running_vm import Vm
from tests.waiting import until

NAMESPACES = ("mnt", "pid", "net", "ipc", "uts")
GIB = 1 << 30
QEMU_ACCELERATOR = {"kvm": "kvm"}.get(os.environ.get("PYRO_ACCELERATOR", ""), "tcg")
QEMU = "/usr/bin/qemu-system-x86_64"
LIBRARIES = {"/etc/ld.so.cache", "/usr/lib", "/usr/lib64", "/lib", "/lib64"}
DISKS = {"/disks/root", "/disks/blank", "/disks/baseline", "/live", "/frozen"}


@dataclass(frozen=True)
class Caged:
    """What a program of a machine may see, write and use."""

    accelerator: str
    name: str
    files: frozenset[str]
    libraries: frozenset[str]
    writable: frozenset[str]
    address_space: int
    file_bytes: int
    descriptors: int
    filters: int = 1


PROGRAMS = [
    Caged(
        QEMU_ACCELERATOR, "qemu-system-x86",
        frozenset({*DISKS, "/boot/vmlinuz", "/boot/initramfs", "/ram", "/readonly-ram.so", QEMU}),
        frozenset({*LIBRARIES, "/usr/share/qemu", "/usr/share/seabios"}),
        frozenset({"/live", "/dev/null", "/dev/urandom"}), 5 * GIB, 64 * GIB, 1024, filters=2,  # QEMU's own on top
    ),
    Caged(
        "uml", "qemu-storage-da",
        frozenset({*DISKS, "/usr/bin/qemu-storage-daemon", "/wait-for-space.so", "/waiting"}), frozenset(LIBRARIES),
        frozenset({"/live", "/dev/null", "/dev/urandom"}), 10 * GIB, 64 * GIB, 1024,
    ),
    Caged(
        "uml", "pyro-devices", frozenset({"/pyro-devices"}), frozenset(),
        frozenset({"/dev/null"}), 3 * GIB, 1 << 20, 128,
    ),
    Caged(
        "uml", "kernel", frozenset({"/kernel", "/initramfs", "/vhost", "/proc/cpuinfo", "/memory"}), frozenset(),
        frozenset({"/memory", "/dev/null"}), 18 * GIB, 2 * GIB, 8192,
    ),
]  # fmt: skip

# Only root may look into the processes of another user.
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="looks into the cage from outside: run the tests as root")


@pytest.fixture(params=PROGRAMS, ids=[f"{one.accelerator}: {one.name}" for one in PROGRAMS])
def caged(request: pytest.FixtureRequest) -> Caged:
    program: Caged = request.param
    return program


@pytest.fixture
def caged_vm(start: Callable[..., Vm], caged: Caged) -> Vm:
    """A machine with the program."""
    return start(accelerator=caged.accelerator)


@pytest.fixture
def process(caged_vm: Vm, caged: Caged) -> Path:
    """The program's folder in /proc."""
    return Path("/proc", str(processes_of(caged_vm.identity.pid)[caged.name]))


def status_of(process: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())


def mounts_of(process: Path) -> Iterator[list[str]]:
    """Yield the words of each mount."""
    return (line.split() for line in (process / "mountinfo").read_text().splitlines())


def check_unprivileged(process: Path, user: int) -> None:
    """Fail unless a process is the machine's own user without any right, under filters."""
    status = status_of(process)
    assert status["Uid"].split() == status["Gid"].split() == [str(user)] * 4
    assert status["Groups"].strip() == ""
    assert {status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_no_program_of_a_machine_has_a_privilege_or_can_gain_any(caged_vm: Vm, caged: Caged, process: Path) -> None:
    ids = machine_ids(caged_vm.sockets.with_name("machine"))
    assert ids is not None
    check_unprivileged(process, ids.machine)
    assert int(status_of(process)["Seccomp_filters"]) >= caged.filters
    shared = [
        kind for kind in NAMESPACES if (process / "ns" / kind).readlink() == Path("/proc/self/ns", kind).readlink()
    ]
    assert shared == []


def test_a_program_of_a_machine_sees_and_writes_only_its_own_files(caged: Caged, process: Path) -> None:
    mounts = {words[4]: words[5].split(",") for words in mounts_of(process)}
    devices = {mount for mount in mounts if mount == "/dev" or mount.startswith("/dev/")}
    assert set(mounts) - devices - caged.libraries - {"/", "/confine"} == caged.files
    assert {mount for mount, options in mounts.items() if "rw" in options} == caged.writable
    assert not {path.name for path in (process / "root/dev").iterdir()} & {"mem", "vda", "sda", "vhost-net"}
    assert [path for path in ("etc/passwd", "root", "home", "proc/1") if (process / "root" / path).exists()] == []


def test_a_program_of_a_machine_has_no_network_and_no_variable_of_ours(process: Path) -> None:
    lines = (process / "net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"]
    names = {entry.split(b"=")[0] for entry in (process / "environ").read_bytes().split(b"\0") if entry}
    assert names <= {b"LD_PRELOAD", b"PWD", b"HOME", b"TMPDIR"}


def test_a_program_of_a_machine_is_bounded(caged: Caged, process: Path) -> None:
    lines = (process / "limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[0] for line in lines}
    assert int(limits["Max address space"]) <= caged.address_space
    assert int(limits["Max file size"]) <= caged.file_bytes
    assert int(limits["Max open files"]) <= caged.descriptors
    assert int(limits["Max processes"]) <= 4096
    assert limits["Max core file size"] == "1"


def test_a_program_of_a_machine_has_no_descriptor_of_ours(caged: Caged, process: Path) -> None:
    """Nothing but sockets, its log, memory and what it opened itself; a tap device only with a network."""
    kinds = {stat.S_IFMT((process / "fd" / fd).stat().st_mode) for fd in os.listdir(process / "fd")}
    assert stat.S_IFBLK not in kinds
    assert stat.S_IFDIR not in kinds
    names = {os.readlink(process / "fd" / fd) for fd in os.listdir(process / "fd")}
    assert [name for name in names if name.startswith("/") and name.split("/")[1] not in {"dev", *_tops(caged)}] == []


def _tops(caged: Caged) -> set[str]:
    return {name.split("/")[1] for name in caged.files}


def test_processes_of_guest_programs_have_no_right_and_two_filters(start: Callable[..., Vm]) -> None:
    vm = start(accelerator="uml")
    ids = machine_ids(vm.sockets.with_name("machine"))
    assert ids is not None
    process = Path("/proc", str(processes_of(vm.identity.pid)["uml-userspace"]))
    check_unprivileged(process, ids.machine)
    assert int(status_of(process)["Seccomp_filters"]) >= 2
    assert (process / "oom_score_adj").read_text() == "1000\n", "the first to go when the host has no memory left"


def test_a_kernel_that_is_a_process_is_bounded_with_all_that_it_starts(start: Callable[..., Vm]) -> None:
    group = make_group(1 << 20, 10)
    if group is None:
        pytest.skip("no control group for memory can be made here")
    remove_group(group)
    vm = start(accelerator="uml")
    found = processes_of(vm.identity.pid)
    groups = {Path(f"/proc/{found[name]}/cgroup").read_text() for name in ("kernel", "uml-userspace")}
    assert len(groups) == 1
    assert vm.sockets.joinpath("group").read_text().rpartition("/")[2] in groups.pop()
    folder = Path(vm.sockets.joinpath("group").read_text())
    vm.engine.kill(vm.identity, vm.sockets)
    assert not folder.exists()


@pytest.mark.parametrize("accelerator", [QEMU_ACCELERATOR, "uml"])
def test_every_process_of_a_machine_ends_with_it(start: Callable[..., Vm], accelerator: str) -> None:
    vm = start(accelerator=accelerator)
    processes = processes_of(vm.identity.pid).values()
    assert len(processes) > 2
    group = vm.identity.pid

    vm.engine.kill(vm.identity, vm.sockets)

    # Its files are closed a moment before the last process is gone.
    until("no process of the machine is left", lambda: list(processes_in_group(group)), lambda left: left == [])
    until("none has ended alone", lambda: [pid for pid in processes if is_alive(pid)], lambda left: left == [])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
