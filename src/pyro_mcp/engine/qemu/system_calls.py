"""The system calls that QEMU may make, found by tracing QEMU 7.2 in everything that we use it for.

Traced under emulation: boot and save of a template, clones with and without network, disk work, snapshots, export of a
disk, power off. The additions for KVM are from QEMU's source (accel/kvm). QEMU's own filter (`-sandbox`) is loaded on
top and denies starting programs, so `execve` is only used to execute QEMU itself.
"""

from __future__ import annotations

import errno
from functools import cache

from pyro_mcp.host.seccomp import (
    COUNT_READABLE,
    CREATE_FLAGS,
    NEVER,
    SET_NAME,
    SET_NON_BLOCKING,
    THREADS_ONLY,
    Check,
    When,
    allow_list,
    any_of,
    null,
)

_ALLOWED = """
    accept4 access arch_prctl brk clock_getres clock_gettime clock_nanosleep close dup epoll_create1 epoll_ctl
    epoll_pwait epoll_wait eventfd2 execve exit exit_group faccessat2 fadvise64 fallocate fcntl fdatasync fstat
    fstatfs fsync ftruncate futex getegid geteuid getgid getpeername getpid getppid getrandom getsockname getsockopt
    gettid gettimeofday getuid listen lseek lstat madvise membarrier mmap mprotect mremap munmap nanosleep newfstatat
    poll ppoll pread64 preadv pwrite64 pwritev read readlink readv recvmsg restart_syscall rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_yield seccomp
    sendmsg set_robust_list set_tid_address shutdown sigaltstack signalfd4 stat statfs statx sync_file_range sysinfo
    tgkill timer_create timer_delete timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime uname
    write writev
"""
_SET_TIMER_SLACK, _MCE_KILL, _NO_NEW_PRIVILEGES, _SET_SECCOMP = 29, 33, 38, 22  # linux/prctl.h
# linux/if_tun.h, less what makes a device or gives it away
_TUN_AND_FILES = (
    0x800454CF, 0x800454D2, 0x400454D4, 0x400454D0, 0x800454D7, 0x400454D8, 0x400454DC, 0x400454DE, SET_NON_BLOCKING,
    COUNT_READABLE,
)  # fmt: skip
_KVM = Check(1, 0xAE00, mask=0xFF00)  # linux/kvm.h: every request of KVM, and of nobody else, has this type

_CONDITIONAL = {
    "clone": THREADS_ONLY,
    "openat": When([[Check(2, 0, mask=CREATE_FLAGS)]]),
    "open": When([[Check(1, 0, mask=CREATE_FLAGS)]]),
    "prctl": any_of(0, [SET_NAME, _SET_TIMER_SLACK, _MCE_KILL, _NO_NEW_PRIVILEGES, _SET_SECCOMP], errno.EINVAL),
    "prlimit64": When([null(2)]),
    "ioctl": When([[Check(1, one)] for one in _TUN_AND_FILES], errno.ENOTTY),
}
_UNDER_KVM = {"ioctl": When([[_KVM], *_CONDITIONAL["ioctl"].alternatives], errno.ENOTTY)}


@cache
def qemu_filter(*, kvm: bool) -> bytes:
    """Return QEMU's filter: QEMU can start threads but no process, create no file, and open no socket of any family."""
    return allow_list(_ALLOWED.split(), {**_CONDITIONAL, **(_UNDER_KVM if kvm else {})})


@cache
def storage_filter() -> bytes:
    """The filter for `qemu-storage-daemon`: that of QEMU, but it may ask in vain for `userfaultfd`."""
    return allow_list(_ALLOWED.split(), _CONDITIONAL, deadly=NEVER - {"userfaultfd"})
