"""The system calls that the processes of a gateway may make once they serve, found by tracing them in all tests."""

from __future__ import annotations

import errno
import socket
from functools import cache

from pyro_mcp.host.seccomp import (
    COUNT_READABLE,
    CREATE_FLAGS,
    SET_NAME,
    SET_NON_BLOCKING,
    THREADS_ONLY,
    Check,
    When,
    allow_list,
    any_of,
)

# For Python, its threads and locks, time, and descriptors that are open already.
_BOTH = """
    accept accept4 brk clock_getres clock_gettime clock_nanosleep close connect dup epoll_create1 epoll_ctl
    epoll_pwait epoll_wait exit exit_group fcntl fstat futex getegid geteuid getgid getpeername getpid getppid
    getrandom getsockname getsockopt gettid gettimeofday getuid listen lseek madvise membarrier mmap mprotect mremap
    munmap nanosleep poll ppoll pread64 pselect6 pwrite64 read readv recvfrom recvmsg restart_syscall rseq
    rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield select sendmsg sendto set_robust_list
    setsockopt shutdown sigaltstack sysinfo tgkill uname write writev
"""
# For the resolver's files, and the log.
_POLICY = "access bind faccessat faccessat2 flock ftruncate lstat newfstatat readlink readlinkat sendmmsg stat statx"
_RELAY = "newfstatat"
_WRITING = 0o3  # O_WRONLY, O_RDWR

_CONDITIONAL = {
    "clone": THREADS_ONLY,
    "prctl": any_of(0, [SET_NAME], errno.EINVAL),
    "ioctl": any_of(1, [SET_NON_BLOCKING, COUNT_READABLE], errno.ENOTTY),
    "socketpair": any_of(0, [socket.AF_UNIX], errno.EAFNOSUPPORT),
}
_READING = When([[Check(2, 0, mask=CREATE_FLAGS | _WRITING)]])
_POLICY_SOCKETS = any_of(0, [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK], errno.EAFNOSUPPORT)
_RELAY_SOCKETS = When([[Check(0, socket.AF_INET), Check(1, socket.SOCK_STREAM, mask=0xFF)]], errno.EAFNOSUPPORT)


@cache
def policy_filter() -> bytes:
    """Return the filter for the policy process: it connects and reads files, but creates none and starts no program."""
    rules = {**_CONDITIONAL, "openat": _READING, "socket": _POLICY_SOCKETS}
    return allow_list([*_BOTH.split(), *_POLICY.split()], rules)


@cache
def relay_filter() -> bytes:
    """Return the filter for the relay process: it relays, and connects to the guest by TCP, but opens no file."""
    return allow_list([*_BOTH.split(), *_RELAY.split()], {**_CONDITIONAL, "socket": _RELAY_SOCKETS})
