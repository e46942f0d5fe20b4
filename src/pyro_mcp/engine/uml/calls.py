"""The system calls that the processes of a machine may make when its kernel is a process, found by tracing them.

Traced with one and two processors, as root and as an ordinary user: boot, commands, shells, services, threads, signals,
the network, snapshots and resets, and the end. A call that the kernel tries in vain is not listed (`personality`,
`setsid`, `memfd_create`, `clone3`, `ptrace`, `ioctl`).

The kernel's filter is inherited by the processes in which the guest's programs run. Those have a second filter, the
kernel's own, that turns each of their calls into a signal (`SECCOMP_RET_TRAP`), which beats a refusal (`ERRNO`) and is
beaten by a kill. So this filter refuses and never kills: else a guest program that tries `mount` would end itself.
"""

from __future__ import annotations

import errno
from functools import cache

from pyro_mcp.host.seccomp import Check, When, allow_list, any_of

_KERNEL = {
    "its start, and that of `pyro-confine` before it": """
        access brk execve fstat getegid geteuid getgid getrandom getuid newfstatat readlink rseq set_robust_list
        set_tid_address sigaltstack statfs uname
    """,
    "the file that is its memory, the program of its processes, the file that names its own process": """
        fchmod lseek mkdir openat unlink
    """,
    "memory; the processes of guest programs make these two calls for every fault": "mprotect munmap",
    "its devices' sockets, the console, and the waiting for them": """
        close connect epoll_create epoll_ctl epoll_wait eventfd2 poll read recvmsg sendmsg write writev
    """,
    "the processes of guest programs: made, started, ended": """
        close_range dup2 exit exit_group getpid getppid gettid wait4
    """,
    "interrupts are signals: of timers, of devices, from one processor to another": """
        restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn rt_tgsigqueueinfo signalfd4 tgkill timer_settime
    """,
    "clocks, where the vDSO has none, and pauses of a thread": "clock_gettime nanosleep sched_yield",
    "binding a processor of the guest, and the process that it runs, to one processor of the host": """
        getcpu sched_getaffinity sched_setaffinity
    """,
}
# linux/sched.h. A process that shares the kernel's memory until it executes its own program; the same without a signal
# at its end, with which the kernel finds out whether filters work; and a thread as pthread_create() makes it.
_PROCESS, _TRIAL, _THREAD = 0x4111, 0x4100, 0x3D0F00
_SHARED, _ANONYMOUS, _LOCKED, _HUGE = 0x01, 0x20, 0x2000, 0x40000  # asm-generic/mman.h
_TRIAL_BYTES = 8192
_UNIX, _STREAM = 1, 1  # linux/socket.h, linux/net.h
_PARENT_DEATH, _SET_NAME, _NO_NEW_PRIVILEGES = 1, 15, 38  # linux/prctl.h
_SET_FS, _SET_GS, _GET_FS, _GET_GS = 0x1002, 0x1001, 0x1003, 0x1004  # asm/prctl.h
# asm-generic/fcntl.h. The last two have the kernel told by a signal when a socket has something.
_SET_CLOSE, _GET_FLAGS, _SET_FLAGS, _SET_OWNER, _SET_SIGNAL = 2, 3, 4, 8, 10
# linux/futex.h: WAIT, WAKE, WAIT_BITSET, WAKE_BITSET; the mask leaves out FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME.
_FUTEX, _FUTEX_KINDS = 0x7F, (0, 1, 9, 10)
_MONOTONIC = 1  # linux/time.h
_DONT_NEED = 4  # asm-generic/mman-common.h: what the C library does with the stack of a thread that ended
_EMPTY_PATH = 0x1000  # linux/fcntl.h: a program is executed by its descriptor
_SET_FILTER, _ALL_THREADS = 1, 1  # linux/seccomp.h

_STREAMS = When([[Check(0, _UNIX), Check(1, _STREAM), Check(2, 0)]], errno.EAFNOSUPPORT)
# RLIMIT_DATA counts private writable memory. Huge pages and shared memory without a file do not count there, so they
# are refused, except for the 8 KiB that the kernel maps as a trial at its start. A hostile program can map these again
# and again; they and the buffers of its sockets count only in a control group (see `group_bounds`).
_COUNTED = When([
    [Check(3, 0, mask=_SHARED | _LOCKED | _HUGE)],
    [Check(3, _SHARED, mask=_SHARED | _ANONYMOUS | _LOCKED | _HUGE)],
    [Check(3, _SHARED | _ANONYMOUS), Check(1, _TRIAL_BYTES), Check(1, 0, high=True)],
])  # fmt: skip

_KERNEL_CONDITIONAL = {
    "arch_prctl": any_of(0, [_SET_FS, _SET_GS, _GET_FS, _GET_GS], errno.EINVAL),
    "clone": any_of(0, [_PROCESS, _TRIAL, _THREAD]),
    "execveat": When([[Check(4, _EMPTY_PATH)]]),
    "fcntl": any_of(1, [_SET_CLOSE, _GET_FLAGS, _SET_FLAGS, _SET_OWNER, _SET_SIGNAL], errno.EINVAL),
    "futex": When([[Check(1, kind, mask=_FUTEX)] for kind in _FUTEX_KINDS], errno.ENOSYS),
    # A process by its number, never a group of them.
    "kill": When([[Check(0, 1 << bit, mask=0x80000000 | 1 << bit)] for bit in range(22)], errno.ESRCH),
    "madvise": any_of(2, [_DONT_NEED], errno.EINVAL),
    "mmap": _COUNTED,
    "prctl": any_of(0, [_PARENT_DEATH, _SET_NAME, _NO_NEW_PRIVILEGES], errno.EINVAL),
    "prlimit64": When([[Check(2, 0), Check(2, 0, high=True)]]),  # of its own limits it may know
    "seccomp": When([[Check(0, _SET_FILTER), Check(1, flags)] for flags in (0, _ALL_THREADS)], errno.EINVAL),
    "socket": _STREAMS,
    "socketpair": _STREAMS,
    "timer_create": any_of(0, [_MONOTONIC], errno.EINVAL),
}

_DEVICES = """
    accept4 brk close exit exit_group execve fcntl fstat futex getrandom munmap newfstatat poll prlimit64 read readv
    recvmsg restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sendmsg sendto set_robust_list
    set_tid_address write writev
"""
_SET_HEADER_SIZE = 0x400454D8  # linux/if_tun.h
_DEVICES_CONDITIONAL = {
    "arch_prctl": any_of(0, [_SET_FS], errno.EINVAL),
    "ioctl": any_of(1, [_SET_HEADER_SIZE], errno.ENOTTY),
    "mprotect": When([[Check(2, 0, mask=4)]]),
    "mmap": When([[Check(2, 0, mask=4)]]),
}


@cache
def kernel_filter() -> bytes:
    """Return the filter for the kernel and for the processes of its programs."""
    return allow_list(kernel_calls() - set(_KERNEL_CONDITIONAL), _KERNEL_CONDITIONAL, deadly=frozenset())


def kernel_calls() -> set[str]:
    """Return the names of the calls that the kernel may make, some of them with certain arguments only."""
    return {*" ".join(_KERNEL.values()).split(), *_KERNEL_CONDITIONAL}


@cache
def devices_filter() -> bytes:
    """Return the filter for `cage/devices.c`: it starts nothing, opens nothing, and maps nothing that can run."""
    return allow_list(_DEVICES.split(), _DEVICES_CONDITIONAL)
