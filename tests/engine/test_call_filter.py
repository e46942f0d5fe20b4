"""The filter of system calls: every number there is, made under it and without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pyro_mcp.engine.qemu.system_calls import qemu_filter
from pyro_mcp.host.seccomp import NEVER, Check, When, allow_list, require_seccomp
from pyro_mcp.host.syscalls import NUMBER

DEADLINE = 120.0
LAST = 600
X32 = 0x40000000
BAD = ["-1"] * 6
"""Arguments that no call accepts."""

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc, which compiles the probe, is not installed")


@pytest.fixture(scope="module")
def probe() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pyro-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # an ordinary user runs it
        program = Path(folder, "probe")
        source = Path(__file__).with_name("calls_probe.c")
        subprocess.run(["gcc", "-O2", "-o", program, source], check=True, timeout=60)
        yield program


def answers(probe: Path, program: bytes, numbers: range, arguments: Sequence[str | int] = BAD) -> dict[int, str]:
    """How the calls of these numbers ended."""
    words = [str(word) for word in (probe, program.hex(), numbers.start, numbers.stop, *arguments)]
    user = {"user": 54321, "group": 54321, "extra_groups": []} if os.getuid() == 0 else {}
    done = subprocess.run(words, check=True, timeout=DEADLINE, capture_output=True, text=True, cwd="/", **user)  # type: ignore[call-overload]
    pairs = (line.split("=") for line in done.stdout.splitlines())
    return {int(number): how for number, how in pairs}


def answer(probe: Path, program: bytes, name: str, *arguments: str | int) -> str:
    number = NUMBER[name]
    return answers(probe, program, range(number, number + 1), arguments)[number]


@pytest.fixture(scope="module")
def under_qemus(probe: Path) -> dict[int, str]:
    return answers(probe, qemu_filter(kvm=False), range(LAST))


DEADLY = (
    "ptrace process_vm_readv process_vm_writev keyctl add_key request_key bpf userfaultfd io_uring_enter mount unshare "
    "setns perf_event_open open_by_handle_at fork vfork kexec_load init_module pidfd_getfd pivot_root chroot"
)
USELESS = (
    "socket socketpair bind connect memfd_create memfd_secret shmget shmat msgget semget mq_open io_uring_setup kill "
    "tkill clone3 mkdir mknod rename link symlink unlink creat chmod chown setuid setgroups capset personality "
    "inotify_init pidfd_open setrlimit sched_setscheduler setpriority "
    "pipe pipe2 splice vmsplice wait4 openat2 getdents64 flock"
)


def test_a_call_that_serves_attacks_alone_kills_qemu(under_qemus: dict[int, str]) -> None:
    assert {name: under_qemus[NUMBER[name]] for name in DEADLY.split()} == dict.fromkeys(DEADLY.split(), "killed")
    assert {under_qemus[NUMBER[name]] for name in NEVER} == {"killed"}


def test_a_call_that_qemu_does_not_need_does_not_exist(under_qemus: dict[int, str]) -> None:
    assert {name: under_qemus[NUMBER[name]] for name in USELESS.split()} == dict.fromkeys(USELESS.split(), "ENOSYS")


def test_few_of_all_calls_reach_the_kernel(under_qemus: dict[int, str]) -> None:
    reached = {number for number, how in under_qemus.items() if how not in {"killed", "ENOSYS"}}
    assert len(reached) < 120
    # 335 and 336, of the kernel's own probes, pass every filter by design, and fail outside of a probe.
    assert reached - set(NUMBER.values()) <= {335, 336}
    assert {under_qemus[number] for number in reached - set(NUMBER.values())} <= {"signal", "ENXIO"}


def test_without_the_filter_the_same_calls_reach_the_kernel(probe: Path) -> None:
    for name in ("memfd_create", "socket", "ptrace", "shmget", "unshare", "process_vm_readv", "pipe2"):
        assert answer(probe, b"", name, *BAD) not in {"killed", "ENOSYS"}


def test_the_second_table_of_calls_is_shut(probe: Path) -> None:
    assert set(answers(probe, qemu_filter(kvm=True), range(X32, X32 + 20)).values()) == {"killed"}
    assert set(answers(probe, qemu_filter(kvm=True), range(X32 + 512, X32 + 548)).values()) == {"killed"}


def test_files_open_but_are_not_made(probe: Path) -> None:
    program, here = qemu_filter(kvm=False), 0xFFFFFF9C
    for flags in (0o100, 0o102, 0o1101, 0o20200002):
        assert answer(probe, program, "openat", here, 1, flags, 0o600) == "EPERM"
        assert answer(probe, b"", "openat", here, 1, flags, 0o600) == "EFAULT"
    assert answer(probe, program, "openat", here, 1, 0o2, 0) == "EFAULT"


def test_threads_are_made_but_no_processes(probe: Path) -> None:
    program = qemu_filter(kvm=False)
    assert answer(probe, program, "clone", 17, 0, 0, 0, 0) == "EPERM"
    assert answer(probe, program, "clone", 0x10000 | 17, 0, 0, 0, 0) == "EPERM"
    assert answer(probe, program, "clone", 0x10100, 0, 0, 0, 0) == "EINVAL"  # a thread, but without CLONE_SIGHAND


def test_limits_are_read_but_not_changed(probe: Path) -> None:
    program = qemu_filter(kvm=False)
    assert answer(probe, program, "prlimit64", 0, 7, 0, 0) == "ok"
    assert answer(probe, program, "prlimit64", 0, 7, 1, 0) == "EPERM"
    assert answer(probe, program, "prlimit64", 0, 7, 1 << 32, 0) == "EPERM"


def test_kvm_is_asked_only_where_there_is_kvm(probe: Path) -> None:
    assert answer(probe, qemu_filter(kvm=True), "ioctl", -1, 0xAE01, 0) == "EBADF"
    assert answer(probe, qemu_filter(kvm=False), "ioctl", -1, 0xAE01, 0) == "ENOTTY"
    for request in (0x5412, 0x400454CA, 0x8913, 0xC0045877):  # TIOCSTI, TUNSETIFF, SIOCGIFFLAGS, FIFREEZE
        assert answer(probe, qemu_filter(kvm=True), "ioctl", -1, request, 0) == "ENOTTY"


def test_every_check_of_one_alternative_must_hold(probe: Path) -> None:
    rule = When([[Check(0, 1), Check(1, 2)], [Check(0, 0x30, mask=0xF0)]])
    program = allow_list(["exit_group", "write"], {"lseek": rule})
    told = {pair: answer(probe, program, "lseek", *pair, 9) for pair in ((1, 2), (1, 3), (2, 2), (0x31, 0), (0x41, 0))}
    assert {pair for pair, how in told.items() if how == "EPERM"} == {(1, 3), (2, 2), (0x41, 0)}


def test_this_kernel_has_filters() -> None:
    require_seccomp()
