"""The confinement of a process that reads hostile bytes: it computes, and uses the descriptors that it has already.

ours, theirs = socket.socketpair()       # the caller starts a program with `theirs`
confine(python_folders())                # the program calls this first, with one thread
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
from collections.abc import Sequence
from functools import cache

from pyro_mcp.host import privileges
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
    deny_list,
    load_filter,
)

# For Python, its threads and locks, time, and descriptors that are open already.
SERVING = """
    accept accept4 brk clock_getres clock_gettime clock_nanosleep close connect dup epoll_create1 epoll_ctl
    epoll_pwait epoll_wait exit exit_group fcntl fstat futex getegid geteuid getgid getpeername getpid getppid
    getrandom getsockname getsockopt gettid gettimeofday getuid listen lseek madvise membarrier mmap mprotect mremap
    munmap nanosleep poll ppoll pread64 pselect6 pwrite64 read readv recvfrom recvmsg restart_syscall rseq
    rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield select sendmsg sendto set_robust_list
    setsockopt shutdown sigaltstack sysinfo tgkill uname write writev
"""
"""The names of the calls that a process of ours needs which serves; `LIMITED` has those with conditions."""
LIMITED = {
    "clone": THREADS_ONLY,
    "prctl": any_of(0, [SET_NAME], errno.EINVAL),
    "ioctl": any_of(1, [SET_NON_BLOCKING, COUNT_READABLE], errno.ENOTTY),
    "socketpair": any_of(0, [socket.AF_UNIX], errno.EAFNOSUPPORT),
}
_WRITING = 0o3  # O_WRONLY, O_RDWR
READ_ONLY = When([[Check(2, 0, mask=CREATE_FLAGS | _WRITING)]])
"""The rule that openat(2) only reads."""
# Python looks for modules in the folders that it can see.
_IMPORTING = "access faccessat faccessat2 getcwd getdents64 lstat newfstatat readlink readlinkat stat statx"
# What starts programs, and what bwrap does.
_FOR_PROGRAMS = frozenset({
    "chroot", "fork", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
    "pivot_root", "setdomainname", "sethostname", "setns", "umount2", "unshare", "vfork",
})  # fmt: skip
_DESCRIPTORS = 512
_NOBODY = 65534


@cache
def _filter() -> bytes:
    return allow_list([*SERVING.split(), *_IMPORTING.split()], {**LIMITED, "openat": READ_ONLY})


def confine(visible: Sequence[str]) -> None:
    """Confine this process for good, which must have one thread; it continues in a child process.

    It keeps its open descriptors. It sees only the folders `visible`, read-only; it makes no file, no process and no
    socket but a pair; it has no network, no capability, limited memory, threads and descriptors, and namespaces of its
    own. Started by root, it runs as nobody where that user exists. Raises `OSError` when the kernel refuses a step; the
    process must end then.
    """
    user = _NOBODY if os.geteuid() == 0 and _is_known(_NOBODY) else None
    privileges.limit_files(_DESCRIPTORS)
    privileges.new_namespaces()
    if os.fork():
        os._exit(0)  # the child is the first process of its pid namespace
    privileges.new_network_namespace()
    privileges.enter_empty_root(visible)
    privileges.limit_memory_and_threads()
    privileges.drop_privileges(user)
    load_filter(_filter())


def restrict() -> None:
    """Forbid this process and its future children, for good, what only attacks need; it must have one thread.

    They gain no privileges from a program's file, leave no core, and may make none of the calls by which a process
    reads or changes others, the kernel, its clock or its modules. They can still make sandboxes. Raises `OSError`.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    load_filter(deny_list(NEVER - _FOR_PROGRAMS | {"io_uring_setup"}))


def python_folders() -> list[str]:
    """Return the folders that Python and its libraries are in, without those that are in another one of them."""
    wanted = ["/usr", "/lib", "/lib64", "/nix/store", *sys.path, sys.prefix, sys.base_prefix]
    paths = {path for one in wanted for path in (os.path.abspath(one), os.path.realpath(one)) if one}
    found = sorted(path for path in paths if os.path.isdir(path) and path != "/")
    found = [one for one in found if one == os.path.realpath(one) or not _is_below(os.path.realpath(one), found)]
    return [one for one in found if not _is_below(one, found)]


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)


def _is_known(user: int) -> bool:
    """Return whether this process's user namespace has a user and a group of this number: user_namespaces(7)."""
    maps = []
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/self/{name}", encoding="ascii") as file:
            maps.append([[int(word) for word in line.split()] for line in file])
    return all(any(first <= user < first + count for first, _, count in one) for one in maps)
