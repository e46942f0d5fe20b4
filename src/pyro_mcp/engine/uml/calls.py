"""The system calls that the processes of a machine may make when its kernel is a process, found by tracing them.

The kernel's filter is inherited by the processes in which the guest's programs run. Those have a second filter, the
kernel's own, that turns each of their calls into a signal (`SECCOMP_RET_TRAP`), which beats a refusal (`ERRNO`) and is
beaten by a kill. So this filter refuses and never kills: else a guest program that tries `mount` would end itself.
"""

from __future__ import annotations

import errno
from functools import cache

from pyro_mcp.host.seccomp import Check, When, allow_list, any_of

_KERNEL = """
    access brk clock_getres clock_gettime clock_nanosleep close close_range connect dup2 epoll_create epoll_create1
    epoll_ctl epoll_wait epoll_pwait eventfd2 execve execveat exit exit_group fchmod fcntl fstat futex getegid geteuid
    getgid getpid getppid getrandom gettid getuid lseek madvise mkdir mprotect munmap nanosleep newfstatat openat poll
    ppoll pread64 pwrite64 read readlink readlinkat readv recvmsg restart_syscall rseq rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity sched_yield seccomp
    sendmsg sendto set_robust_list set_tid_address sigaltstack signalfd4 statfs statx sysinfo tgkill timer_create
    timer_delete timer_settime uname unlink wait4 waitid write writev
"""
_VM = 0x00000100
# linux/sched.h: every namespace, and the flags by which a child could leave the filter's or the tracer's sight.
_NAMESPACES = 0x00000080 | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_SHARED, _ANONYMOUS = 0x01, 0x20  # asm-generic/mman-common.h
_UNIX = 1  # linux/socket.h
# linux/prctl.h
_PARENT_DEATH, _GET_NAME, _SET_NAME, _NO_NEW_PRIVILEGES, _SET_TIMER_SLACK = 1, 16, 15, 38, 29
_SET_FS, _SET_GS, _GET_FS, _GET_GS = 0x1002, 0x1001, 0x1003, 0x1004  # asm/prctl.h

_KERNEL_CONDITIONAL = {
    "arch_prctl": any_of(0, [_SET_FS, _SET_GS, _GET_FS, _GET_GS], errno.EINVAL),
    "clone": When([[Check(0, _VM, mask=_VM | _NAMESPACES)]]),
    "kill": When([[Check(0, 1 << bit, mask=0x80000000 | 1 << bit)] for bit in range(22)], errno.ESRCH),
    "prctl": any_of(0, [_PARENT_DEATH, _GET_NAME, _SET_NAME, _NO_NEW_PRIVILEGES, _SET_TIMER_SLACK], errno.EINVAL),
    "prlimit64": When([[Check(2, 0), Check(2, 0, high=True)]]),
    "socket": any_of(0, [_UNIX], errno.EAFNOSUPPORT),
    "socketpair": any_of(0, [_UNIX], errno.EAFNOSUPPORT),
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
    """The filter for the kernel and for the processes of its programs."""
    return allow_list([*_KERNEL.split(), "mmap"], _KERNEL_CONDITIONAL, deadly=frozenset())


@cache
def devices_filter() -> bytes:
    """The filter for `cage/devices.c`: it starts nothing, opens nothing, and maps nothing that can run."""
    return allow_list(_DEVICES.split(), _DEVICES_CONDITIONAL)
