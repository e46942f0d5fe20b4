"""A hostile program in the place of a kernel that is a process gets no more than it was given."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

import pytest

from pyro_mcp.engine.lifetime import GUARD, deadline_file, set_lifetime
from pyro_mcp.engine.uml.cage import group_bounds, kernel_cage
from pyro_mcp.engine.uml.calls import devices_filter, kernel_filter
from pyro_mcp.engine.uml.programs import KERNEL
from pyro_mcp.host.control_groups import make_group, remove_group
from pyro_mcp.host.syscalls import NUMBER
from tests.engine.test_cage import DEADLINE, by, compiled, identity, machine_user, pytestmark, user
from tests.engine.test_call_filter import BAD, DEADLY, LAST, X32, answer, answers, probe

__all__ = ["probe", "pytestmark", "user"]

MEM_MIB = 64
EATERS, EATEN_MIB = 12, 80  # those of uml_attack.c
USELESS = (
    "bind listen accept accept4 memfd_create memfd_secret shmget shmat msgget semget mq_open io_uring_setup tkill "
    "clone3 mknod rename link symlink creat chmod chown setuid setgroups capset personality "
    "inotify_init pidfd_open "
    "setrlimit sched_setscheduler setpriority pipe pipe2 splice vmsplice openat2 flock getxattr"
)


def test_a_hostile_kernel_gets_no_more_than_it_was_given(user: int, home: Path) -> None:
    home.chmod(0o755)
    attack = compiled("uml_attack.c", home / "attack", "-static", "-D_FORTIFY_SOURCE=0")
    (home / "vhost").mkdir(mode=0o711)
    argv = [KERNEL, str(os.getpid()), str((MEM_MIB + 4) << 20)]
    words = by(
        user, lambda: kernel_cage(argv, attack, home / "vhost", mem_mib=MEM_MIB, user=machine_user(), kernel=attack)
    )
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False, **identity(user)
    )  # type: ignore[call-overload]
    facts = dict(line.split("=") for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert {name for name, how in facts.items() if how == "ok"} == set()
    assert (facts["sockets"], facts["descriptors"], facts["written"]) == ("0", "0", "bounded")
    assert facts["signal outside"] == "ESRCH"
    assert int(facts["files"]) < 40


def resident_mib(pid: str) -> int:
    """Return how much memory a process has; 0 when it has ended."""
    try:
        return int(Path("/proc", pid, "statm").read_text().split()[1]) * 4 // 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0


@pytest.mark.parametrize("grouped", [True, False])
def test_the_processes_of_a_hostile_kernel_get_no_more_memory_of_any_kind_together(home: Path, grouped: bool) -> None:
    home.chmod(0o755)
    attack = compiled("uml_attack.c", home / "attack", "-static", "-D_FORTIFY_SOURCE=0")
    (home / "vhost").mkdir(mode=0o711)
    set_lifetime(home / "state", DEADLINE)
    group = make_group(*group_bounds(MEM_MIB))
    if group is None:
        pytest.skip("no control group for memory can be made here")
    words = [str(GUARD), "--signal=KILL", str(deadline_file(home / "state")), *([f"group={group}"] if grouped else [])]
    argv = [KERNEL, "feed"]
    words += kernel_cage(argv, attack, home / "vhost", mem_mib=MEM_MIB, user=machine_user(), kernel=attack)
    said, more = b"", b"first"
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while (
            more
            and said.count(b"\n") < EATERS
            and select.select([process.stdout], [], [], 5 if grouped else DEADLINE)[0]
        ):
            said += (more := os.read(process.stdout.fileno(), 4096))
        taken = sum(map(resident_mib, (group / "cgroup.procs").read_text().split()))
        process.kill()
    remove_group(group)
    assert group_bounds(MEM_MIB)[0] >> 20 < EATERS * EATEN_MIB
    if grouped:
        assert taken < group_bounds(MEM_MIB)[0] >> 20
        assert 0 < said.count(b"ate\n") < EATERS, "they ran, and some were killed"
    else:
        assert said.count(b"ate\n") == EATERS, "neither a filter nor a limit of each process bounds any kind"


@pytest.fixture(scope="module")
def under_the_kernels(probe: Path) -> dict[int, str]:
    return answers(probe, kernel_filter(), range(LAST))


def test_no_call_kills_a_program_of_the_guest(under_the_kernels: dict[int, str], probe: Path) -> None:
    assert "killed" not in under_the_kernels.values()
    assert set(answers(probe, kernel_filter(), range(X32, X32 + 20)).values()) == {"ENOSYS"}
    assert {under_the_kernels[NUMBER[name]] for name in set(DEADLY.split()) - {"kill"}} == {"ENOSYS"}


def test_a_call_that_such_a_kernel_does_not_need_does_not_exist(under_the_kernels: dict[int, str]) -> None:
    assert {name: under_the_kernels[NUMBER[name]] for name in USELESS.split()} == dict.fromkeys(
        USELESS.split(), "ENOSYS"
    )


def test_few_of_all_calls_reach_the_host_from_such_a_kernel(under_the_kernels: dict[int, str]) -> None:
    assert len([how for how in under_the_kernels.values() if how != "ENOSYS"]) < 100


def test_such_a_kernel_signals_no_group_and_makes_no_process_without_its_memory(probe: Path) -> None:
    program = kernel_filter()
    assert answer(probe, program, "kill", 0, 0) == "ESRCH"
    assert answer(probe, program, "kill", -1, 0) == "ESRCH"
    assert answer(probe, program, "clone", 17, 0, 0, 0, 0) == "EPERM"
    assert answer(probe, program, "clone", 0x10000100 | 17, 0, 0, 0, 0) == "EPERM"
    assert answer(probe, program, "socket", 2, 1, 0) == "EAFNOSUPPORT"
    assert answer(probe, program, "prctl", 4, 1, 0, 0, 0) == "EINVAL"


def test_the_program_of_the_devices_opens_nothing_and_starts_nothing(probe: Path) -> None:
    reached = {
        number
        for number, how in answers(probe, devices_filter(), range(LAST)).items()
        if how not in {"killed", "ENOSYS"}
    }
    assert len(reached) < 45
    for name in ("openat", "socket", "connect", "clone", "kill", "memfd_create", "bind", "listen"):
        assert answer(probe, devices_filter(), name, *BAD) in {"killed", "ENOSYS"}
    assert answer(probe, devices_filter(), "mmap", 0, 4096, 5, 0x22, -1, 0) == "EPERM"
