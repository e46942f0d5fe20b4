"""Allow lists of system calls as seccomp filters: classic BPF programs that the kernel runs before every call.

A call that is not on the list fails with ENOSYS, as on a kernel without it, so a library that tries a newer call falls
back to an older one. A call in `NEVER` kills the process: no program of ours makes it, not even as a first try.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.syscalls import NUMBER

# linux/seccomp.h, linux/audit.h, asm/unistd.h
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_X86_64, _X32 = 0xC000003E, 0x40000000
# linux/bpf_common.h: load a word of seccomp_data, AND a constant, jump if equal or not less, return a constant.
_LOAD, _AND, _EQUAL, _NOT_LESS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_CALL, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_SET_SECCOMP, _FILTER, _SET_NO_NEW_PRIVILEGES = 22, 2, 38  # linux/prctl.h
_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")

_DEADLY = """
    _sysctl acct add_key adjtimex afs_syscall bpf chroot clock_adjtime clock_settime create_module delete_module
    execveat finit_module fork fsconfig fsmount fsopen fspick get_kernel_syms getpmsg init_module io_uring_enter
    io_uring_register ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie migrate_pages modify_ldt mount
    mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open
    pidfd_getfd pivot_root process_madvise process_mrelease process_vm_readv process_vm_writev ptrace putpmsg
    query_module quotactl quotactl_fd reboot request_key security setdomainname sethostname setns settimeofday swapoff
    swapon syslog tuxcall umount2 unshare uselib userfaultfd ustat vfork vhangup vserver
"""
NEVER = frozenset(_DEADLY.split())
"""The calls that kill the process that makes them."""


@dataclass(frozen=True)
class Check:
    """A condition: 32 bits of the call's argument number `argument` (from 0), ANDed with `mask`, equal `value`.

    The bits are the lower half of the argument, or with `high` the upper half.
    """

    argument: int
    value: int
    mask: int = 0xFFFFFFFF
    high: bool = False

    def load(self) -> list[bytes]:
        """Return the instructions that put the masked word into the accumulator."""
        words = [_step(_LOAD, _ARGUMENTS + 8 * self.argument + 4 * self.high)]
        return words if self.mask == 0xFFFFFFFF else [*words, _step(_AND, self.mask)]


@dataclass(frozen=True)
class When:
    """A rule: allow the call when all checks of at least one alternative hold, else fail it with errno `error`."""

    alternatives: Sequence[Sequence[Check]]
    error: int = errno.EPERM


def null(argument: int) -> list[Check]:
    """Return the checks for a pointer argument that is NULL."""
    return [Check(argument, 0), Check(argument, 0, high=True)]


def any_of(argument: int, values: Collection[int], error: int = errno.EPERM) -> When:
    """Return the rule that an integer argument is one of `values`."""
    return When([[Check(argument, value)] for value in sorted(values)], error)


THREADS_ONLY = When([[Check(0, 0x00010100, mask=0x00010100)]])
"""The rule that clone(2) starts a thread, not a process: CLONE_VM and CLONE_THREAD (linux/sched.h) are set."""
CREATE_FLAGS = 0o100 | 0o20000000
"""The flags of open(2) that create a file: O_CREAT and O_TMPFILE (asm-generic/fcntl.h)."""
SET_NAME = 15
"""prctl(2): PR_SET_NAME (linux/prctl.h)."""
SET_NON_BLOCKING, COUNT_READABLE = 0x5421, 0x541B
"""ioctl(2): FIONBIO and FIONREAD (asm-generic/ioctls.h)."""


def allow_list(allowed: Collection[str], conditional: Mapping[str, When], *, deadly: Collection[str] = NEVER) -> bytes:
    """Return the filter that allows these calls (by name), as the bytes of an array of `struct sock_filter`.

    `deadly` calls kill; where there are none, those of other ABIs are refused too instead of killing.
    """
    assert not (set(allowed) | set(conditional)) & set(deadly), "a call cannot be allowed and deadly"
    foreign = _step(_RETURN, _KILL if deadly else _ERRNO | errno.ENOSYS)
    program = [
        _step(_LOAD, _ARCHITECTURE), _step(_EQUAL, _X86_64, 1, 0), foreign,
        _step(_LOAD, _CALL), _step(_NOT_LESS, _X32, 0, 1), foreign,
    ]  # fmt: skip
    for name in sorted(set(conditional)):
        body = list(_conditional(conditional[name]))
        program += [_step(_EQUAL, NUMBER[name], 0, len(body)), *body]
    killed, harmless = (sorted(NUMBER[name] for name in names) for names in (deadly, set(allowed) - set(conditional)))
    # After the comparisons follow three return instructions, in this order.
    answers = [_step(_RETURN, _ERRNO | errno.ENOSYS), _step(_RETURN, _KILL), _step(_RETURN, _ALLOW)]
    for numbers, answer in ((killed, 1), (harmless, 2)):
        rest = len(harmless) if answer == 1 else 0
        for index, number in enumerate(numbers):
            program.append(_step(_EQUAL, number, len(numbers) - index - 1 + rest + answer, 0))
    return b"".join([*program, *answers])


def deny_list(denied: Collection[str]) -> bytes:
    """Return the filter that refuses these calls (by name) with EPERM, and all calls of other ABIs with ENOSYS."""
    foreign = _step(_RETURN, _ERRNO | errno.ENOSYS)
    program = [
        _step(_LOAD, _ARCHITECTURE), _step(_EQUAL, _X86_64, 1, 0), foreign,
        _step(_LOAD, _CALL), _step(_NOT_LESS, _X32, 0, 1), foreign,
    ]  # fmt: skip
    numbers = sorted(NUMBER[name] for name in denied)
    program += [_step(_EQUAL, number, len(numbers) - index, 0) for index, number in enumerate(numbers)]
    return b"".join([*program, _step(_RETURN, _ALLOW), _step(_RETURN, _ERRNO | errno.EPERM)])


def _conditional(when: When) -> Iterator[bytes]:
    """Yield the instructions for one call. They always return, so the accumulator need not be restored."""
    for checks in when.alternatives:
        blocks = [check.load() for check in checks]
        left = sum(len(block) + 1 for block in blocks) + 1
        for check, block in zip(checks, blocks, strict=True):
            yield from block
            left -= len(block) + 1
            yield _step(_EQUAL, check.value, 0, left)
        yield _step(_RETURN, _ALLOW)
    yield _step(_RETURN, _ERRNO | when.error)


def _step(code: int, constant: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, constant)


def load_filter(program: bytes) -> None:
    """Load a filter, made by `allow_list`, into this process; it cannot be removed.

    The process must have one thread. Raises `OSError`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    steps = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(steps)))
    for words in ((_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, head, 0, 0)):
        if libc.prctl(*words) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"the system call filter cannot be loaded: {os.strerror(code)}")


def require_seccomp() -> None:
    """Raise `HostNotReady` where the kernel cannot run our filters. Callers start nothing without a filter."""
    try:
        actions = _ACTIONS.read_text().split()
    except OSError:
        actions = []
    if missing := {"allow", "errno", "kill_process"} - set(actions):
        raise HostNotReady(
            f"this kernel's seccomp filters lack {', '.join(sorted(missing))}",
            hint="use Linux 4.14 or newer with CONFIG_SECCOMP_FILTER; machines do not start without their filter",
        )
